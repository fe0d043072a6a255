"""An order there and back through a public bridge from PyPI, over the same counter: its own server and its own client.

    miniqmt_bridges.py BRIDGE PACKAGES USERDATA ACCOUNT WARM_UP ORDERS AT_ONCE

The bridges are run as their authors' commands run them; only their market data, which no order needs and which is a
native module, is an empty module here.
"""
import importlib
import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import types

KEY = 'bench-key-of-nobody'


def serve(bridge, packages, userdata, account, port):
    sys.path.insert(0, packages)
    # Without what the package does by itself: it asks an index for updates.
    package = importlib.util.module_from_spec(importlib.util.find_spec('xtquant'))
    sys.modules['xtquant'] = package
    package.xtdata = sys.modules['xtquant.xtdata'] = types.ModuleType('xtquant.xtdata')
    if bridge == 'qmt-bridge':
        import uvicorn
        from qmt_bridge.server.app import create_app
        from qmt_bridge.server.config import Settings, reset_settings
        settings = Settings(host='127.0.0.1', port=port, log_level='warning', api_key=KEY, trading_enabled=True,
                            mini_qmt_path=userdata, trading_account_id=account)
        reset_settings(settings)
        uvicorn.run(create_app(settings), host=settings.host, port=port, log_level='warning', access_log=False)
    else:
        home = os.path.join(userdata, 'qmt-rpyc')
        os.makedirs(home, exist_ok=True)
        os.environ.update(HOME=home, QMT_RPYC_HOST='127.0.0.1', QMT_RPYC_PORT=str(port), QMT_RPYC_AUTH_KEY=KEY,
                          QMT_PATH=userdata, QMT_SESSION_ID='4712', QMT_ACCOUNT_ID=account,
                          QMT_RPYC_LOG_DIR=os.path.join(home, 'logs'))
        logging.disable(logging.INFO)
        from qmt_rpyc.server.main import main
        main()


def qmt_bridge(port, account):
    from qmt_bridge.client import QMTClient

    def connect():
        client = QMTClient('127.0.0.1', port, api_key=KEY)

        def place(remark):
            answer = client.place_order('000858.SZ', 23, 100, price_type=11, price=43.5, order_remark=remark)
            number = answer['order_id'] if isinstance(answer, dict) else answer
            assert number > 0, answer
        return place
    return connect


def qmt_rpyc(port, account):
    from qmt_rpyc import QmtClient

    def connect():
        client = QmtClient.connect('127.0.0.1', port, auth_key=KEY)

        def place(remark):
            answer = client.trading.submit_order(account, '000858.SZ', 'BUY', 100, pricing='LIMIT', price=43.5,
                                                 correlation_ref=remark)
            assert type(answer).__name__ == 'Submitted', answer
        place.client = client
        return place
    return connect


def ready(connect, server):
    until = time.monotonic() + 60
    while True:
        try:
            place = connect()
            place('READY')
            return place
        except Exception as e:
            if time.monotonic() > until or server.poll() is not None:
                raise SystemExit('the bridge does not take an order: %r' % e)
            time.sleep(0.1)


def measure(connect, place, warm_up, orders, at_once):
    took = []
    for n in range(warm_up + orders):
        began = time.perf_counter()
        place('B%019d' % n)
        if n >= warm_up:
            took.append(int((time.perf_counter() - began) * 1e6))
    lanes = [connect() for _ in range(at_once)]
    failed = []

    def lane(at):
        try:
            for n in range(orders // at_once):
                lanes[at]('C%04d%015d' % (at, n))
        except Exception as e:
            failed.append(repr(e))
    threads = [threading.Thread(target=lane, args=(at,)) for at in range(at_once)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    a_second = orders // at_once * at_once / (time.perf_counter() - began)
    return {'order': sorted(took), 'a_second': None if failed else a_second, 'failed': failed[:1]}


def main():
    bridge, packages, userdata, account, *numbers = sys.argv[1:]
    if numbers[0] == 'serve':
        return serve(bridge, packages, userdata, account, int(numbers[1]))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, '-B', __file__, bridge, packages, userdata, account, 'serve', str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connect = {'qmt-bridge': qmt_bridge, 'qmt-rpyc': qmt_rpyc}[bridge](port, account)
        place = ready(connect, server)
        print(json.dumps(measure(connect, place, *map(int, numbers))), flush=True)
    finally:
        server.kill()
    os._exit(0)


main()
