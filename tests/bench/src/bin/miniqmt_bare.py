"""xttrader in a bare program: an order there and back, a fill from its push on, and the rate with many orders under way."""
import importlib
import importlib.util
import json
import sys
import threading
import time

packages, userdata, account, warm_up, orders, at_once = sys.argv[1:]
warm_up, orders, at_once = int(warm_up), int(orders), int(at_once)
sys.path.insert(0, packages)
# Without what the package does by itself: it asks an index for updates.
sys.modules['xtquant'] = importlib.util.module_from_spec(importlib.util.find_spec('xtquant'))
xttrader = importlib.import_module('xtquant.xttrader')
xttype = importlib.import_module('xtquant.xttype')

answered, filled = threading.Semaphore(0), threading.Semaphore(0)
came = []


class Callback(xttrader.XtQuantTraderCallback):
    def on_order_stock_async_response(self, response):
        answered.release()

    def on_stock_trade(self, trade):
        # Its number is the moment at which the counter pushed it.
        came.append((time.time_ns() - int(trade.traded_id)) // 1000)
        filled.release()


trader = xttrader.XtQuantTrader(userdata, 4711, Callback())
trader.start()
assert trader.connect() == 0
stock = xttype.StockAccount(account)
assert trader.subscribe(stock) == 0
fills = json.load(open(userdata + '/counter/knobs.json'))['fill'] == 'immediate'


def place(n):
    trader.order_stock_async(stock, '000858.SZ', 23, 100, 11, 43.5, 'bare', 'BARE%016d' % n)


order = []
for n in range(warm_up + orders):
    began = time.perf_counter()
    place(n)
    answered.acquire()
    answer = time.perf_counter() - began
    if fills:
        filled.acquire()
    if n >= warm_up:
        order.append(int(answer * 1e6))
began = time.perf_counter()
under_way = 0
for n in range(orders):
    if under_way == at_once:
        answered.acquire()
        under_way -= 1
    place(warm_up + orders + n)
    under_way += 1
for _ in range(under_way):
    answered.acquire()
a_second = orders / (time.perf_counter() - began)
print(json.dumps({'order': sorted(order), 'fill': sorted(came[warm_up:]), 'a_second': a_second}), flush=True)
sys.stdout.flush()
import os
os._exit(0)
