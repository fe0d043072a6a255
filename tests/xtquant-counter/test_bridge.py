# -*- coding: utf-8 -*-
"""The bridge by itself: spoken to over its streams and over TLS, by frames, under the real xttrader.py and the counter.

`QT_BRIDGE` names bridge.py and `QT_XTQUANT` the folder with the package; `python3 -m unittest -v test_bridge` runs all. The
end-to-end tests run the same from Rust. Needs no more than the standard library, and `openssl` for a certificate.
"""
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BRIDGE = os.environ['QT_BRIDGE']
XTQUANT = os.environ['QT_XTQUANT']
PATIENCE = 20
TOKEN = 'a-token-of-twenty-and-more'

SPEC = importlib.util.spec_from_file_location('bridge', BRIDGE)
bridge = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bridge)


def now_ms():
    return int(time.time() * 1000)


def eventually(what, done, patience=PATIENCE):
    until = time.monotonic() + patience
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError('waited too long until %s' % what)
        time.sleep(0.01)


class Desk(object):
    """A terminal's folder with a counter."""

    def __init__(self, name='userdata_mini', **knobs):
        self.folder = tempfile.mkdtemp(prefix='bridge-')
        self.userdata = os.path.join(self.folder, name)
        self.counter = os.path.join(self.userdata, 'counter')
        os.makedirs(self.counter)
        self.turn(**knobs)

    def turn(self, **knobs):
        knobs = dict({'cash': 100000000, 'prices': {'600000.SH': 9.9, '000858.SZ': 43.2, '920001.BJ': 20.0}}, **knobs)
        new = os.path.join(self.counter, 'knobs.new')
        with open(new, 'w') as file:
            json.dump(knobs, file)
        os.replace(new, os.path.join(self.counter, 'knobs.json'))

    def ledger(self):
        try:
            with open(os.path.join(self.counter, 'ledger.jsonl'), encoding='utf-8') as file:
                return [json.loads(line) for line in file]
        except FileNotFoundError:
            return []

    def accepted(self):
        return [line for line in self.ledger() if line['event'] == 'accepted']

    def config(self, **more):
        return dict({'account': '55000001', 'account_type': 'STOCK', 'path': self.userdata, 'xtquant': XTQUANT,
                     'record': os.path.join(self.folder, 'orders'), 'sessions': os.path.join(self.folder, 'sessions'),
                     'session_ids': [100, 200], 'hang_after_ms': 2000, 'visible_ms': 2000}, **more)

    def records(self):
        folder = os.path.join(self.folder, 'orders')
        lines = []
        for name in sorted(os.listdir(folder)):
            if name.endswith('.jsonl'):
                with open(os.path.join(folder, name), 'rb') as file:
                    lines += file.read().split(b'\n')
        return lines


class Line(object):
    """One end of a line; answers by their number, events as they come."""

    def __init__(self, read, write, close, first=1):
        self.write, self.close = write, close
        self.number = first
        self.answers, self.events, self.ended = {}, [], False
        self.ready = threading.Condition()
        thread = threading.Thread(target=self.listen, args=(read,))
        thread.daemon = True
        thread.start()

    def listen(self, read):
        try:
            while True:
                body = bridge.read_raw(read)
                if body is None:
                    break
                frame = bridge.parse(body)
                with self.ready:
                    if 're' in frame:
                        self.answers.setdefault(frame['re'], []).append(frame)
                    else:
                        self.events.append(frame)
                    self.ready.notify_all()
        except (OSError, ValueError, bridge.Broken):
            pass
        with self.ready:
            self.ended = True
            self.ready.notify_all()

    def say(self, op, **fields):
        number, self.number = self.number, self.number + 1
        self.write(bridge.pack(dict(fields, op=op, id=number)))
        return number

    def answer(self, number, patience=PATIENCE):
        """The whole answer, its rows put together."""
        with self.ready:
            whole = lambda: self.answers.get(number) and not self.answers[number][-1].get('more')
            self.ready.wait_for(lambda: whole() or self.ended, patience)
            if not whole():
                raise AssertionError('no answer to %d' % number)
            parts = self.answers[number]
        answer = dict(parts[-1])
        if any('rows' in part for part in parts):
            answer['rows'] = [row for part in parts for row in part.get('rows', [])]
        return answer

    def ask(self, op, **fields):
        return self.answer(self.say(op, **fields))

    def hello(self, **fields):
        return self.ask('hello', **dict({'protocol': 1, 'account': None, 'resume': None, 'now_ms': now_ms()}, **fields))

    def place(self, name, **fields):
        return self.say('place', **dict({'client_order_id': name, 'symbol': '000858.SZ', 'side': 'buy', 'quantity': 100,
                                         'price': '43.5', 'price_kind': 'limit', 'not_after': None, 'strategy': '',
                                         'within_ms': 2000}, **fields))

    def kinds(self):
        with self.ready:
            return [event.get('kind') for event in self.events]


class Child(Line):
    """A bridge over its streams."""

    def __init__(self, desk, python=sys.executable, before='', **config):
        words = [python, '-B', BRIDGE, '--stdio']
        if before:
            words = ['sh', '-c', before + '; exec "$0" "$@"'] + words
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = []
        reader = threading.Thread(target=lambda: self.said.extend(iter(self.process.stderr.readline, b'')))
        reader.daemon = True
        reader.start()
        Line.__init__(self, self.process.stdout, self.tell, self.kill)
        self.configured = self.ask('config', **desk.config(now_ms=now_ms(), **config))

    def tell(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def connect(self):
        self.hello()
        answer = self.ask('connect', query_ms=2000)
        assert answer['ok'], answer
        return self


class Listening(object):
    """A bridge that listens."""

    def __init__(self, desk, secure=True, **more):
        self.desk, self.secure = desk, secure
        config = dict({'account_id': '55000001', 'session_path': desk.userdata, 'xtquant': XTQUANT, 'token_file': 'token',
                       'data_dir': 'data', 'hang_after_ms': 2000, 'session_ids': [100, 400], 'visible_ms': 2000}, **more)
        if secure:
            subprocess.check_call(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                                   '-nodes', '-days', '30', '-subj', '/CN=miniqmt', '-keyout',
                                   os.path.join(desk.folder, 'key'), '-out', os.path.join(desk.folder, 'pem')],
                                  stderr=subprocess.DEVNULL)
            config.update(certificate='pem', key='key')
        with open(os.path.join(desk.folder, 'token'), 'w') as file:
            file.write(TOKEN)
        path = os.path.join(desk.folder, 'bridge.json')
        with open(path, 'w') as file:
            json.dump(config, file)
        self.process = subprocess.Popen([sys.executable, '-B', BRIDGE, '--listen', '127.0.0.1:0', '--config', path],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        first = self.process.stderr.readline().decode()
        self.said = [first]
        if not first.startswith('listening on '):
            self.port = None
            self.process.wait()
            return
        self.port = int(first.split()[2].rpartition(':')[2])
        reader = threading.Thread(target=self.hear)
        reader.daemon = True
        reader.start()

    def hear(self):
        for line in iter(self.process.stderr.readline, b''):
            self.said.append(line.decode('utf-8', 'replace'))

    def dial(self, first=1, token=TOKEN, **auth):
        raw = socket.create_connection(('127.0.0.1', self.port), PATIENCE)
        if self.secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(os.path.join(self.desk.folder, 'pem'))
            raw = context.wrap_socket(raw)
        raw.settimeout(None)
        # Two threads: reading under the bridge's own care for that.
        wire = bridge.Wire(raw) if hasattr(bridge, 'Wire') else None
        line = Line(wire or raw.makefile('rb'), wire.sendall if wire else raw.sendall,
                    wire.drop if wire else lambda: raw.shutdown(socket.SHUT_RDWR), first)
        line.auth = line.ask('auth', token=token, **auth)
        return line

    def connected(self, first=1, **hello):
        line = self.dial(first)
        assert line.auth['ok'], line.auth
        line.hello(**hello)
        answer = line.ask('connect', query_ms=2000)
        assert answer['ok'], answer
        return line

    def children(self):
        with open('/proc/%d/task/%d/children' % (self.process.pid, self.process.pid)) as file:
            ids = file.read().split()
        for task in os.listdir('/proc/%d/task' % self.process.pid):
            with open('/proc/%d/task/%s/children' % (self.process.pid, task)) as file:
                ids += file.read().split()
        return sorted(set(int(number) for number in ids))

    def kill(self):
        # Its children see the end of their streams.
        self.process.kill()
        self.process.wait()


class Case(unittest.TestCase):
    def desk(self, *arguments, **knobs):
        desk = Desk(*arguments, **knobs)
        self.addCleanup(shutil.rmtree, desk.folder, True)
        return desk

    def child(self, desk, **more):
        child = Child(desk, **more)
        self.addCleanup(child.kill)
        return child

    def listening(self, desk, **more):
        listening = Listening(desk, **more)
        self.addCleanup(listening.kill)
        return listening


class OverAnotherLine(Case):
    def test_an_order_never_gets_the_answer_of_one_on_the_line_before(self):
        desk = self.desk(latency_ms=600)
        far = self.listening(desk, secure=False)
        first = far.connected()
        first.place('FIRST')
        eventually('the first order is at the counter', desk.accepted)
        # Asked and not answered yet; the next line counts its requests as the first did.
        second_order = first.place('SECOND')
        first.close()
        line = far.dial()
        line.hello()
        while line.number < second_order:
            line.ask('ping')
        number = line.place('THIRD')
        self.assertEqual(number, second_order)
        answer = line.answer(number)
        accepted = eventually('all three are there', lambda: len(desk.accepted()) == 3 and desk.accepted())
        names = dict((row['broker_order_id'], row['client_order_id']) for row in accepted)
        self.assertEqual(names[answer['order_id']], 'THIRD', answer)

    def test_what_was_answered_to_nobody_is_told_as_an_event(self):
        desk = self.desk(latency_ms=300)
        far = self.listening(desk, secure=False)
        first = far.dial()
        hello = first.hello()
        self.assertTrue(first.ask('connect', query_ms=2000)['ok'])
        first.place('ALONE')
        # It is taken in the order in which it was said.
        first.ask('ping')
        first.close()
        line = far.dial(first=1000)
        line.hello(resume={'epoch': hello['epoch'], 'after': hello['next'] - 1})
        late = eventually('the number is told', lambda: [e for e in line.events if e.get('kind') == 'late'])
        self.assertEqual(late[0]['data']['client_order_id'], 'ALONE')
        again = line.answer(line.place('ALONE'))
        self.assertEqual((again['order_id'], again['repeated']), (late[0]['data']['order_id'], True))

    def test_events_go_on_over_another_line_where_they_stopped(self):
        desk = self.desk(fill='never', fill_after_ms=700)
        far = self.listening(desk)
        first = far.dial()
        hello = first.hello()
        first.ask('connect', query_ms=2000)
        self.assertTrue(first.answer(first.place('A'))['ok'])
        heard = eventually('the order is told', lambda: [e for e in first.events if e.get('kind') == 'order'])
        last = first.events[-1]['ev']
        first.close()
        eventually('it is filled while nobody listens',
                   lambda: [line for line in desk.ledger() if line['event'] == 'fill'])
        line = far.dial(first=5000)
        greeted = line.hello(resume={'epoch': hello['epoch'], 'after': last})
        self.assertFalse(greeted['resync'])
        self.assertEqual(greeted['next'], last + 1)
        eventually('the trade is told', lambda: 'trade' in line.kinds())
        self.assertEqual([e['ev'] for e in line.events][0], last + 1)
        self.assertTrue(heard)
        self.assertTrue(line.hello(resume={'epoch': 'another', 'after': last})['resync'])


class Terminals(Case):
    def test_a_terminal_that_disconnects_ends_the_child_and_the_next_line_has_a_new_one(self):
        desk = self.desk(disconnect_after_order=1)
        far = self.listening(desk)
        line = far.connected()
        before = far.children()
        self.assertTrue(line.answer(line.place('A'))['ok'])
        eventually('the loss is told', lambda: 'down' in line.kinds())
        eventually('the line ends', lambda: line.ended)
        eventually('its process has ended', lambda: not set(before) & set(far.children()))
        line = far.connected(first=900)
        self.assertTrue(line.answer(line.place('B'))['ok'])
        again = line.answer(line.place('A'))
        self.assertTrue(again['repeated'], again)
        self.assertEqual(len(desk.accepted()), 2)

    def test_connections_that_fail_leave_neither_threads_nor_processes_behind(self):
        desk = self.desk(connect_minus_one=True)
        far = self.listening(desk, secure=False)
        for n in range(12):
            line = far.dial(first=n * 100 + 1)
            line.hello()
            answer = line.ask('connect', query_ms=500)
            self.assertEqual(answer['code'], 'no_connection', answer)
            eventually('the line ends', lambda: line.ended)
        eventually('no child is left', lambda: not far.children())
        threads = lambda: len(os.listdir('/proc/%d/task' % far.process.pid))
        eventually('the threads are gone', lambda: threads() <= 2)
        self.assertLess(len(os.listdir('/proc/%d/fd' % far.process.pid)), 12)

    def test_a_connection_that_hangs_is_not_waited_for_by_the_next_line(self):
        desk = self.desk(connect_hangs=1)
        far = self.listening(desk, secure=False)
        line = far.dial()
        line.hello()
        line.say('connect', query_ms=500)
        eventually('it connects', lambda: os.path.exists(os.path.join(desk.counter, 'strikes.jsonl')))
        line.close()
        eventually('its process has ended', lambda: not far.children())
        far.connected(first=100)


    def test_a_child_that_hangs_keeps_no_host_out(self):
        """One whose interpreter is stuck in a call of the library met every new line, and none could do without it."""
        desk = self.desk()
        far = self.listening(desk, secure=False)
        before = far.connected()
        stuck = far.children()
        os.kill(stuck[0], signal.SIGSTOP)
        # Its pipe is full, and who writes to it waits: not even its end was noticed then.
        for _ in range(40):
            before.say('ping', filler='x' * 10000)
        line = far.dial(first=100)
        self.assertTrue(line.auth['ok'])
        line.say('hello', protocol=1, account=None, resume=None, now_ms=now_ms())
        eventually('the line ends', lambda: line.ended)
        far.connected(first=500)
        self.assertNotIn(stuck[0], far.children())

    def test_a_line_that_leaves_at_once_ends_no_child(self):
        desk = self.desk()
        far = self.listening(desk, secure=False)
        far.connected()
        child = far.children()
        for n in range(5):
            far.dial(first=100 * n + 100).close()
        # As long as one that took no note of a line would live.
        time.sleep(2 + 5 + 1)
        self.assertEqual(far.children(), child)

    def test_a_status_comes_behind_what_was_pushed_before_it_and_is_of_the_account_alone(self):
        """A fill that waited behind others was let go where the account's status ended the connection before it was told."""
        inbox = bridge.Inbox()
        for item in (('push', 'trade', 1), ('probed', None, []), ('rows', 1, [])):
            inbox.put(item)
        self.assertEqual([item[0] for item in inbox.take(0)], ['rows', 'push', 'probed'])
        terminal = bridge.Terminal({'account': '55'}, inbox)
        terminal.account = type('Account', (), {'account_type': 2})()
        row = lambda **fields: type('Row', (), fields)()
        self.assertTrue(terminal.is_of_account(row(account_id='55', account_type=2, status=0)))
        self.assertTrue(terminal.is_of_account(row(account_id='55', status=0)))
        self.assertFalse(terminal.is_of_account(row(account_id='55', account_type=6, status=5)))
        self.assertFalse(terminal.is_of_account(row(account_id='56', account_type=2, status=5)))

    def test_a_child_that_hangs_at_its_start_is_ended_however_many_lines_come(self):
        """Each line once gave it another minute, and a host that tried more often than that never had a bridge."""
        killed = threading.Event()
        relayed = object.__new__(bridge.Relayed)
        relayed.lock, relayed.writing = threading.Lock(), threading.Lock()
        relayed.to, relayed.heard, relayed.timer, relayed.answers_within = (None, 0), 0, None, 15
        relayed.begun = time.monotonic() - relayed.STARTS_WITHIN + 0.5
        relayed.child = type('Child', (), {'stdin': io.BytesIO(), 'kill': lambda self: killed.set(),
                                           'poll': lambda self: None})()
        for _ in range(3):
            relayed.take(type('Wire', (), {'drop': lambda self: None})())
        self.assertTrue(killed.wait(10))

    def test_what_an_older_line_still_holds_is_passed_to_nobody(self):
        """An order came to the terminal under the limits of the line that had taken its own line's place."""
        killed = []
        relayed = object.__new__(bridge.Relayed)
        relayed.writing, relayed.to, relayed.heard = threading.Lock(), ('the new line', 2), 2
        relayed.child = type('Child', (), {'stdin': io.BytesIO(), 'kill': lambda self: killed.append(self)})()
        relayed.send('the old line', b'an order')
        relayed.restart('the old line')
        self.assertEqual((relayed.child.stdin.getvalue(), killed), (b'', []))
        relayed.send('the new line', b'a question')
        relayed.restart('the new line')
        self.assertEqual((relayed.child.stdin.getvalue(), len(killed)), (b'a question', 1))


class Configurations(Case):
    def test_a_child_whose_configuration_was_refused_is_not_asked_for_ever(self):
        desk = self.desk()
        orders = os.path.join(desk.folder, 'data', 'orders')
        os.makedirs(os.path.dirname(orders))
        with open(orders, 'w'):
            pass
        far = self.listening(desk, secure=False)
        line = far.dial()
        answer = line.hello()
        self.assertEqual((answer['code'], 'the record of orders' in answer['error']), ('setup', True), answer)
        eventually('the line ends', lambda: line.ended)
        os.remove(orders)
        far.connected(first=100)

    def test_a_cap_that_is_misspelt_or_no_number_is_refused_and_never_ignored(self):
        desk = self.desk()
        for more, words in [
                ({'caps': {'max_order_share': 100}}, 'max_order_share'),
                ({'caps': {'max_order_shares': '100'}}, 'caps.max_order_shares'),
                ({'caps': {'max_orders_a_day': -1}}, 'caps.max_orders_a_day'),
                ({'caps': {'max_orders_a_day': True}}, 'caps.max_orders_a_day'),
                ({'caps': {'max_order_value': 'much'}}, 'caps.max_order_value'),
                ({'caps': {'max_order_value': 0}}, 'caps.max_order_value'),
                ({'caps': {'symbols': '600000.SH'}}, 'caps.symbols'),
                ({'caps': {'symbols': ['600000']}}, 'caps.symbols'),
                ({'caps': [1]}, '`caps`'),
                ({'read_only': 'false'}, '`read_only`'),
                ({'dry_run': 1}, '`dry_run`'),
                ({'account_id': 55000001}, '`account_id`'),
                ({'session_path': 5}, '`session_path`'),
                ({'session_ids': [5, 4]}, '`session_ids`'),
                ({'account_type': 'stock'}, '`account_type`'),
                ({'hang_after_ms': '5'}, '`hang_after_ms`'),
        ]:
            far = Listening(desk, secure=False, **more)
            self.addCleanup(far.kill)
            self.assertIsNone(far.port, more)
            self.assertIn(words, far.said[0])
            self.assertNotIn('55000001', far.said[0])
            self.assertEqual(far.process.returncode, 2)
        child = self.child(desk, caps={'max_order_share': 100})
        self.assertEqual(child.configured['code'], 'setup')
        self.assertEqual(child.hello()['code'], 'setup')

    def test_caps_hold_in_every_way_that_json_can_write_them(self):
        desk = self.desk()
        for most, taken in [(4350, True), (4350.0, True), ('4350.00', True), (4349.99, False), ('4349.9', False)]:
            child = self.child(desk, caps={'max_order_value': most}).connect()
            answer = child.answer(child.place('V%s' % most))
            self.assertEqual(answer['ok'], taken, (most, answer))
            child.kill()

    def test_a_host_can_only_tighten_what_the_bridge_allows(self):
        desk = self.desk()
        child = self.child(desk, caps={'max_order_shares': 500}).connect()
        for limits, quantity, words in [
                ({'caps': {'max_order_shares': 100}}, 200, 'max_order_shares'),
                ({'caps': {'max_order_shares': 1000}}, 600, 'max_order_shares'),
                ({'caps': {'symbols': ['600000.SH']}}, 100, 'symbols'),
                ({'dry_run': True}, 100, 'a dry run'),
                ({'read_only': True}, 100, 'only reads'),
        ]:
            self.assertTrue(child.hello(limits=limits)['limits'])
            answer = child.answer(child.place('T', quantity=quantity))
            self.assertEqual((answer['ok'], answer['code']), (False, 'refused'), limits)
            self.assertIn(words, answer['error'])
        self.assertEqual(child.hello(limits={'caps': {'max_share': 1}})['code'], 'setup')
        self.assertEqual(desk.accepted(), [])
        child.hello()
        self.assertTrue(child.answer(child.place('T'))['ok'])
        # A dry run once cancelled in earnest.
        child.hello(limits={'dry_run': True})
        answer = child.ask('cancel', client_order_id='T', within_ms=2000)
        self.assertEqual((answer['code'], 'a dry run' in answer['error']), ('refused', True), answer)

    def test_another_bridge_with_the_record_is_told_and_is_no_hang(self):
        desk = self.desk()
        self.child(desk)
        second = self.child(desk, hang_after_ms=1000)
        # One that is ending frees it soon: it is tried again.
        self.assertEqual(second.configured['code'], 'not_ready', second.configured)
        self.assertEqual(second.hello()['code'], 'not_ready')
        self.assertIn('another bridge holds the record', second.configured['error'])


class Records(Case):
    def test_a_folder_with_brackets_in_its_name_has_its_record_and_its_queues(self):
        """Its name was taken for a pattern: after a restart nothing had been sent before."""
        desk = self.desk('[1] userdata')
        record = os.path.join(desk.folder, '[国金]QMT', 'orders')
        child = self.child(desk, record=record).connect()
        first = child.answer(child.place('A'))
        child.kill()
        child = self.child(desk, record=record).connect()
        again = child.answer(child.place('A'))
        self.assertEqual((again['order_id'], again['repeated']), (first['order_id'], True), again)
        self.assertEqual(len(desk.accepted()), 1)
        queues = [name for name in os.listdir(desk.userdata) if 'queue' in name]
        self.assertEqual(len(queues), 1, queues)

    def test_on_a_full_disk_no_order_leaves_without_its_record(self):
        desk = self.desk()
        child = self.child(desk).connect()
        self.assertTrue(child.answer(child.place('BEFORE'))['ok'])
        child.kill()
        record = [name for name in os.listdir(os.path.join(desk.folder, 'orders')) if name.endswith('.jsonl')][0]
        size = os.path.getsize(os.path.join(desk.folder, 'orders', record))
        # A write is cut in its middle by a limit, as by a full disk.
        child = self.child(desk, python=sys.executable, before='')
        child.connect()
        import resource
        resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (size + 30, resource.RLIM_INFINITY))
        answer = child.answer(child.place('TORN'))
        self.assertEqual((answer['ok'], answer['code']), (False, 'refused'), answer)
        self.assertIn('record', answer['error'])
        self.assertEqual(os.path.getsize(os.path.join(desk.folder, 'orders', record)), size)
        resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.assertTrue(child.answer(child.place('TORN'))['ok'])
        self.assertEqual([line['client_order_id'] for line in desk.accepted()], ['BEFORE', 'TORN'])
        for line in desk.records():
            if line:
                json.loads(line.decode())

    def test_a_late_answer_while_an_order_is_synced_cuts_nothing_out_of_the_record(self):
        """The pump once wrote behind the main thread's line before that counted it: it cut the new order's intent away as a write
        that had failed, and the order was sent without one."""
        folder, today = os.path.join(self.desk().folder, 'orders'), bridge.day_of(bridge.now_ms())
        record = bridge.Record(folder, today)
        record.intend('OLD', 'f')
        record.doubtful('OLD', 'no answer in time')
        sync, late = os.fsync, []

        def slow(handle):
            if not late:
                late.append(threading.Thread(target=record.accepted, args=('OLD', '1001')))
                late[0].start()
                # It either writes at once or waits for this write to end.
                late[0].join(0.5)
            sync(handle)

        os.fsync = slow
        try:
            record.intend('NEW', 'f')
        finally:
            os.fsync = sync
        late[0].join()
        record.accepted('NEW', '1002')
        record.lock.free()
        again = bridge.Record(folder, today)
        self.addCleanup(again.lock.free)
        self.assertEqual(dict((name, entry['order']) for name, entry in again.orders.items()), {'OLD': '1001', 'NEW': '1002'})
        self.assertEqual((again.count, again.placed), (2, 2))

    def test_a_day_whose_record_cannot_be_begun_sends_nothing_and_ends_nothing(self):
        desk = self.desk()
        child = self.child(desk).connect()
        self.assertTrue(child.answer(child.place('TODAY'))['ok'])
        tomorrow = now_ms() + 86400000
        # A folder stands where the file is to be.
        os.makedirs(os.path.join(desk.folder, 'orders', 'orders-%s.jsonl' % bridge.day_of(tomorrow)))
        child.hello(now_ms=tomorrow)
        for name in ('TOMORROW', 'LATER'):
            answer = child.answer(child.place(name))
            self.assertEqual((answer['ok'], answer['code']), (False, 'refused'), answer)
        self.assertEqual(child.ask('orders', within_ms=2000)['code'], 'not_ready')
        self.assertTrue(child.ask('ping')['ok'])
        self.assertEqual(len(desk.accepted()), 1)

    def test_an_order_whose_time_has_passed_is_not_sent_by_the_clock_of_the_host(self):
        desk = self.desk()
        child = self.child(desk).connect()
        late = child.answer(child.place('LATE', not_after=now_ms() - 60000))
        self.assertEqual((late['ok'], late['code']), (False, 'refused'), late)
        self.assertTrue('the time that the order was good for has passed' in late['error'], late)
        self.assertTrue(child.answer(child.place('GOOD', not_after=now_ms() + 60000))['ok'])
        # The host's clock is an hour ahead of this machine's: what is good for a minute here is long gone there.
        child.hello(now_ms=now_ms() + 3600000)
        late = child.answer(child.place('AHEAD', not_after=now_ms() + 60000))
        self.assertEqual((late['ok'], late['code']), (False, 'refused'), late)
        self.assertTrue(child.answer(child.place('AGREED', not_after=now_ms() + 3660000))['ok'])
        self.assertEqual([line['remark'] for line in desk.accepted()], ['GOOD', 'AGREED'])
        # One that was not sent is in no record, and may be sent while its time lasts.
        self.assertTrue(child.answer(child.place('LATE', not_after=now_ms() + 3660000))['ok'])

    def test_a_repeat_is_answered_from_the_record_also_by_who_only_reads(self):
        desk = self.desk()
        child = self.child(desk).connect()
        first = child.answer(child.place('ONCE'))
        child.kill()
        child = self.child(desk, read_only=True).connect()
        again = child.answer(child.place('ONCE'))
        self.assertEqual((again['order_id'], again['repeated']), (first['order_id'], True))
        self.assertEqual(child.answer(child.place('NEVER'))['code'], 'refused')
        self.assertEqual(len(desk.accepted()), 1)


class Rows(Case):
    def test_a_row_of_another_program_that_cannot_be_read_is_left_out_and_one_of_ours_is_not(self):
        odd = {'order_id': 77, 'order_remark': 'etf', 'stock_code': '510300.SH', 'order_type': 134, 'order_volume': 'much',
               'order_status': 50, 'order_time': 0}
        desk = self.desk(foreign_orders=[odd], foreign_trades=[dict(odd, traded_id='1', traded_volume='much')])
        child = self.child(desk).connect()
        self.assertTrue(child.answer(child.place('OURS'))['ok'])
        for op in ('orders', 'trades'):
            answer = child.ask(op, within_ms=2000)
            self.assertEqual([row['remark'] for row in answer['rows']], ['OURS'], answer)
            self.assertEqual(len(answer['left_out']), 1, answer)
            self.assertEqual([row['recorded'] for row in answer['rows']], [True])
        desk.turn(foreign_orders=[dict(odd, order_remark='OURS')])
        answer = child.ask('orders', within_ms=2000)
        self.assertEqual((answer['ok'], answer['code']), (False, 'not_ready'), answer)
        # Of a kind that is no trade in shares, and without a number: no affair of ours.
        desk.turn(foreign_orders=[dict(odd, order_volume=1, order_id=0)])
        rows = child.ask('orders', within_ms=2000)['rows']
        self.assertEqual([(row['side'], row['recorded']) for row in rows], [('buy', True), (None, False)])

    def test_an_order_without_an_outcome_that_no_list_shows_is_named(self):
        desk = self.desk(reply_dropped=1, visible_after_ms=1500, no_pushes=True)
        child = self.child(desk).connect()
        self.assertEqual(child.answer(child.place('LATE', within_ms=300))['code'], 'unknown')
        answer = child.ask('orders', within_ms=2000)
        self.assertEqual((answer['rows'], [row['client_order_id'] for row in answer['undecided']]), ([], ['LATE']))
        self.assertLess(answer['undecided'][0]['age_ms'], 10000)
        # Also after the bridge was started again.
        child.kill()
        child = self.child(desk).connect()
        shown = eventually('it is shown', lambda: child.ask('orders', within_ms=2000)['rows'])
        self.assertEqual([row['remark'] for row in shown], ['LATE'])
        self.assertEqual(child.ask('orders', within_ms=2000)['undecided'], [])

    def test_an_order_whose_call_is_under_way_is_no_doubt(self):
        desk = self.desk(latency_ms=300)
        child = self.child(desk).connect()
        asked = child.say('orders', within_ms=3000)
        child.place('LATER')
        self.assertEqual(child.answer(asked)['undecided'], [])

    def test_a_late_answer_takes_no_order_out_of_the_undecided(self):
        """Its number once took it out, after `visible_ms` lists without it counted as whole, and it was sent a second time."""
        row = {'order_id': 7, 'order_remark': 'another program', 'stock_code': '000858.SZ', 'order_type': 23,
               'order_volume': 100, 'order_status': 56, 'order_time': 0}
        desk = self.desk(reply_late=1, reply_late_ms=600, visible_after_ms=600000, no_pushes=True, foreign_orders=[row])
        child = self.child(desk, visible_ms=1).connect()
        self.assertEqual(child.answer(child.place('LATE', within_ms=200))['code'], 'unknown')

        def undecided():
            # Within `visible_ms` there is no list at all.
            answer = eventually('the list counts', lambda: (lambda it: it['ok'] and it)(child.ask('orders', within_ms=2000)))
            return [row['client_order_id'] for row in answer['undecided']]

        self.assertEqual(undecided(), ['LATE'])
        eventually('its number is told', lambda: 'late' in child.kinds())
        self.assertEqual(undecided(), ['LATE'])
        # Nor does one that came in time: who asks may be another than who was answered.
        self.assertTrue(child.answer(child.place('HEARD'))['ok'])
        self.assertEqual(undecided(), ['HEARD', 'LATE'])
        child.kill()
        child = self.child(desk, visible_ms=1).connect()
        self.assertEqual(undecided(), ['HEARD', 'LATE'])
        desk.turn()
        answer = child.ask('orders', within_ms=2000)
        self.assertEqual((len(answer['rows']), answer['undecided']), (2, []))

    def recording(self):
        it = bridge.Bridge(None, None, None)
        folder = self.desk().folder
        it.config, it.record = {'account': ''}, bridge.Record(os.path.join(folder, 'orders'), bridge.day_of(bridge.now_ms()))
        return it

    def test_an_order_that_was_answered_while_a_list_was_made_is_undecided_only_where_the_answer_was_late(self):
        it = self.recording()
        for name in ('HEARD', 'LATE'):
            it.record.intend(name, 'f')
        it.record.doubtful('LATE', 'no answer in time')
        asked = (it.record.count, it.record.numbers)
        it.record.accepted('HEARD', '1001')
        it.record.accepted('LATE', '1002')
        self.assertEqual([name for name, _ in it.expected([], asked)[1]], ['LATE'])

    def test_an_answer_that_came_in_time_and_is_told_too_late_is_told_as_late_too(self):
        it = self.recording()
        it.record.intend('HELD UP', 'f')
        asked = (it.record.count, it.record.numbers)
        # Who has given up, or is on another line, has no answer to come.
        it.waiting[('place', 5)] = (1, 'HELD UP', time.monotonic() - 1, it.line)
        self.assertEqual([name for name, _ in it.expected([], asked)[1]], ['HELD UP'])
        response, out = lambda: None, []
        response.seq, response.order_id = 5, 1001
        it.placed(out, response)
        self.assertEqual((len(out), [bridge.parse(event[4:])['kind'] for _, event in it.ring]), (1, ['late']))
        self.assertEqual([name for name, _ in it.expected([], asked)[1]], ['HELD UP'])

    def test_no_more_undecided_are_named_than_a_frame_holds(self):
        it = self.recording()
        open_ = [('O%019d' % number, number) for number in range(100000)]
        frames = [piece for piece in it.listing(7, it.line, 'order', [], (), open_) if piece]
        named = [one['client_order_id'] for one in bridge.parse(frames[-1][4:])['undecided']]
        self.assertEqual(named, [name for name, _ in reversed(open_[-1000:])])

    def test_a_long_list_holds_up_no_order_and_one_placed_meanwhile_is_no_lack_of_it(self):
        row = {'order_id': 7, 'order_remark': 'another program', 'stock_code': '000858.SZ', 'order_type': 23,
               'order_volume': 100, 'order_status': 56, 'order_time': 0}
        desk = self.desk(foreign_orders=[row] * 40000)
        child = self.child(desk).connect()
        asked = child.say('orders', within_ms=60000)
        self.assertTrue(child.answer(child.place('MEANWHILE', within_ms=20000))['ok'])
        with child.ready:
            parts = child.answers.get(asked, [])
            self.assertTrue(not parts or parts[-1].get('more'), 'the order waited for the list')
        answer = child.answer(asked, 60)
        self.assertEqual((answer['ok'], answer['count'], len(answer['rows'])), (True, 40000, 40000))
        # The next one shows it, and one that did not would be refused.
        rows = child.ask('orders', within_ms=60000)['rows']
        self.assertEqual(len([row for row in rows if row['remark'] == 'MEANWHILE']), 1)
        desk.turn(visible_after_ms=60000)
        answer = child.ask('orders', within_ms=60000)
        self.assertEqual((answer['ok'], answer['code']), (False, 'not_ready'), answer)

    def test_a_list_that_is_slowly_made_lacks_none_that_was_accepted_after_it_was_asked_for(self):
        """On a busy day orders come faster than the terminal makes its list, and no list was ever whole."""
        desk = self.desk(cash=100000000000)
        with open(os.path.join(desk.counter, 'ledger.jsonl'), 'w') as file:
            for number in range(2000, 32000):
                file.write(json.dumps({'event': 'rejected', 'broker_order_id': str(number), 'remark': 'R%d' % number, 'price': 1.0,
                                       'symbol': '000858.SZ', 'side': 'buy', 'quantity': 100, 'ts': now_ms(), 'reason': ''}) + '\n')
        child = self.child(desk, visible_ms=60000).connect()
        asked = child.say('orders', within_ms=60000)
        self.assertTrue(child.answer(child.place('MEANWHILE', within_ms=20000))['ok'])
        answer = child.answer(asked, 60)
        self.assertTrue(answer['ok'], answer.get('error'))
        # The counter began its list before the order came, or this would prove nothing.
        self.assertNotIn('MEANWHILE', [row['remark'] for row in answer['rows']])
        self.assertIn('MEANWHILE', [row['remark'] for row in child.ask('orders', within_ms=60000)['rows']])

    def test_a_list_is_held_against_a_long_day_while_orders_come(self):
        """What is held against the list was walked through while orders were noted in it, and the bridge ended by that."""
        desk = self.desk()
        today = bridge.day_of(bridge.now_ms())
        record = bridge.Record(os.path.join(desk.folder, 'orders'), today)
        for number in range(300000):
            record.orders['O%d' % number] = {'day': today, 'fp': '', 'order': None, 't': 0, 'n': number}
        it = bridge.Bridge(None, None, None)
        it.config, it.record = {}, record
        ended = threading.Event()

        def place():
            number = 0
            while not ended.is_set():
                number += 1
                record.intend('NEW%d' % number, 'f')

        worker = threading.Thread(target=place)
        worker.start()
        try:
            for _ in range(10):
                _, undecided = it.expected([], (10 ** 9, 0))
                self.assertTrue(len(undecided) >= 300000)
        finally:
            ended.set()
            worker.join()

    def leaving(self, it, number, count, until):
        key, row = ('ask', number, it.line, (0, 0), 3.0), lambda: None
        row.account_id, row.order_id, row.order_remark, row.stock_code = None, 7, 'another program', '000858.SZ'
        it.waiting[key] = (number, 'order', until, it.line)
        it.rows([], key, [row] * count)

    def test_a_list_waits_for_no_other_that_is_on_its_way(self):
        """The second of two long ones once sent nothing before the first had ended, and its host gave it up."""
        it, out = self.recording(), []
        until = time.monotonic() + 60
        self.leaving(it, 1, 40000, until)
        self.leaving(it, 2, 150, until)
        while it.lists:
            it.go_on(out)
        frames = [bridge.parse(frame[4:]) for frame in out]
        self.assertEqual([frame['re'] for frame in frames[:2]], [2, 1])
        self.assertEqual([sum(len(frame['rows']) for frame in frames if frame['re'] == number) for number in (1, 2)], [40000, 150])
        self.assertFalse(frames[0].get('more'))

    def test_a_list_that_its_host_has_given_up_is_not_sent(self):
        it, out = self.recording(), []
        self.leaving(it, 1, 40000, time.monotonic() - 1)
        while it.lists:
            it.go_on(out)
        self.assertEqual([(frame['re'], frame['code']) for frame in (bridge.parse(frame[4:]) for frame in out)],
                         [(1, 'not_ready')])

    def test_no_answer_waits_behind_a_day_that_is_pushed_again(self):
        inbox = bridge.Inbox()
        for number in range(100000):
            inbox.put(('push', 'order', number))
        inbox.put(('down', None, 'lost'))
        inbox.put(('placed', None, 'an answer'))
        inbox.put(('reply', 7, 'a pong'))
        first = list(inbox.take(0))
        self.assertEqual([item[0] for item in first[:2]], ['placed', 'reply'])
        self.assertTrue(len(first) < 1000, len(first))
        # Pushes lose neither their order nor one of them, and the end of the connection comes last.
        told = [item for item in first[2:]]
        while told[-1][0] != 'down':
            told += inbox.take(0)
        self.assertEqual([item[2] for item in told], list(range(100000)) + ['lost'])
        self.assertFalse(inbox.take(0))

    def test_a_day_that_is_pushed_again_reaches_the_host_whole_and_pings_are_answered_meanwhile(self):
        desk = self.desk(replay_day=True, cash=100000000000)
        with open(os.path.join(desk.counter, 'ledger.jsonl'), 'w') as file:
            for number in range(2000, 12000):
                file.write(json.dumps({'event': 'accepted', 'broker_order_id': str(number), 'remark': 'R%d' % number, 'price': 1.0,
                                       'symbol': '000858.SZ', 'side': 'buy', 'quantity': 100, 'ts': now_ms()}) + '\n')
                file.write(json.dumps({'event': 'cancelled', 'broker_order_id': str(number)}) + '\n')
        child = self.child(desk).connect()
        self.assertTrue(child.ask('ping')['up'])
        orders = lambda: [event['data']['order_id'] for event in list(child.events) if event.get('kind') == 'order']
        eventually('the whole day came', lambda: len(orders()) == 10000, 60)
        self.assertEqual(orders(), [str(number) for number in range(2000, 12000)])
        # A gap would have the host ask for lists that show the same.
        self.assertEqual([event for event in child.events if 'gap' in event], [])

    def test_times_in_every_shape(self):
        day = (bridge.now_ms() // 1000 + bridge.BEIJING) // 86400 * 86400 - bridge.BEIJING
        nine = (day + 9 * 3600 + 30 * 60 + 15) * 1000
        for shape, ms in [
                (93015, nine), (93015123, nine + 123), (150000, (day + 15 * 3600) * 1000), (nine // 1000, nine), (nine, nine),
                ('93015', nine), (20260731093015, 1785461415000), (1, (day + 1) * 1000),
                (0, None), (-5, None), (246060, None), (99999999, None), (None, None), ('', None), (float('inf'), None),
                (20261331093015, None), (2 ** 63, None), (10 ** 12 * 5, None)]:
            self.assertEqual(bridge.moment(shape), ms, shape)


class Numbers(Case):
    """The terminal's numbers, each held against the wheel's own names."""

    def constants(self):
        spec = importlib.util.spec_from_file_location('xtconstant', os.path.join(XTQUANT, 'xtquant', 'xtconstant.py'))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_every_status(self):
        names = {'ORDER_UNREPORTED': 'pending', 'ORDER_WAIT_REPORTING': 'pending', 'ORDER_REPORTED': 'working',
                 'ORDER_REPORTED_CANCEL': 'cancel_pending', 'ORDER_PARTSUCC_CANCEL': 'cancel_pending',
                 'ORDER_PART_CANCEL': 'partially_cancelled', 'ORDER_CANCELED': 'cancelled',
                 'ORDER_PART_SUCC': 'partially_filled', 'ORDER_SUCCEEDED': 'filled', 'ORDER_JUNK': 'rejected',
                 'ORDER_UNKNOWN': 'unknown'}
        constants = self.constants()
        expected = dict((getattr(constants, name), word) for name, word in names.items())
        self.assertEqual(sorted(expected), list(range(48, 58)) + [255])
        self.assertEqual(bridge.STATUS, expected)
        for number in list(expected) + [0, 47, 58, 254, None, '50']:
            row = bridge.order_row(type('Row', (), {'order_status': number, 'order_id': 1}))
            self.assertEqual(row['status'], expected.get(number, 'unknown'), number)

    def test_every_side(self):
        constants = self.constants()
        expected = {}
        for name, side in [('STOCK_BUY', 'buy'), ('STOCK_SELL', 'sell'), ('CREDIT_BUY', 'buy'), ('CREDIT_SELL', 'sell'),
                           ('CREDIT_FIN_BUY', 'buy'), ('CREDIT_SLO_SELL', 'sell'), ('CREDIT_BUY_SECU_REPAY', 'buy'),
                           ('CREDIT_SELL_SECU_REPAY', 'sell'), ('CREDIT_FIN_BUY_SPECIAL', 'buy'),
                           ('CREDIT_SLO_SELL_SPECIAL', 'sell'), ('CREDIT_BUY_SECU_REPAY_SPECIAL', 'buy'),
                           ('CREDIT_SELL_SECU_REPAY_SPECIAL', 'sell')]:
            expected[getattr(constants, name)] = side
        self.assertEqual(bridge.SIDES, expected)
        for name in ('CREDIT_DIRECT_SECU_REPAY', 'CREDIT_DIRECT_CASH_REPAY', 'CREDIT_DIRECT_SECU_REPAY_SPECIAL',
                     'CREDIT_DIRECT_CASH_REPAY_SPECIAL'):
            self.assertNotIn(getattr(constants, name), bridge.SIDES, name)

    def test_every_kind_of_price_at_every_exchange(self):
        constants = self.constants()
        names = {'limit': {'SH': 'FIX_PRICE', 'SZ': 'FIX_PRICE', 'BJ': 'FIX_PRICE'},
                 'best_five_then_cancel': {'SH': 'MARKET_SH_CONVERT_5_CANCEL', 'SZ': 'MARKET_SZ_CONVERT_5_CANCEL',
                                           'BJ': 'MARKET_SH_CONVERT_5_CANCEL'},
                 'best_five_then_limit': {'SH': 'MARKET_SH_CONVERT_5_LIMIT', 'BJ': 'MARKET_SH_CONVERT_5_LIMIT'},
                 'opposite_best': dict.fromkeys(('SH', 'SZ', 'BJ'), 'MARKET_PEER_PRICE_FIRST'),
                 'own_best': dict.fromkeys(('SH', 'SZ', 'BJ'), 'MARKET_MINE_PRICE_FIRST'),
                 'immediate_or_cancel': {'SZ': 'MARKET_SZ_INSTBUSI_RESTCANCEL'},
                 'fill_or_kill': {'SZ': 'MARKET_SZ_FULL_OR_CANCEL'}}
        expected = dict((kind, dict((exchange, getattr(constants, name)) for exchange, name in exchanges.items()))
                        for kind, exchanges in names.items())
        expected['market'] = expected['best_five_then_cancel']
        self.assertEqual(bridge.PRICE_TYPES, expected)
        desk = self.desk(positions=[{'symbol': s, 'quantity': 10000, 'last_price': 10.0}
                                    for s in ('600000.SH', '000858.SZ', '920001.BJ')])
        child = self.child(desk).connect()
        sent = 0
        for symbol in ('600000.SH', '000858.SZ', '920001.BJ'):
            for kind in sorted(expected):
                name = 'N%s%d' % (symbol[-2:], sorted(expected).index(kind))
                answer = child.answer(child.place(name, symbol=symbol, side='sell', price_kind=kind,
                                                  price='9' if kind == 'limit' else None))
                number = expected[kind].get(symbol[-2:])
                if number is None:
                    self.assertEqual(answer['code'], 'refused', (symbol, kind))
                    continue
                sent += 1
                # The counter refuses what its exchange lacks.
                self.assertTrue(answer['ok'], (symbol, kind, answer))
                self.assertEqual(desk.accepted()[-1]['price_type'], number, (symbol, kind))
        self.assertEqual(len(desk.accepted()), sent)


class Strangers(Case):
    def test_who_only_knocks_does_not_keep_the_host_out(self):
        desk = self.desk()
        far = self.listening(desk)
        knocks = [socket.create_connection(('127.0.0.1', far.port)) for _ in range(40)]
        line = far.connected()
        self.assertTrue(line.answer(line.place('A'))['ok'])
        eventually('most of them are gone', lambda: len(os.listdir('/proc/%d/task' % far.process.pid)) < 30)
        for knock in knocks:
            knock.close()

    def test_an_accept_that_fails_ends_nothing(self):
        desk = self.desk()
        far = self.listening(desk)
        line = far.connected()
        import resource
        before = resource.prlimit(far.process.pid, resource.RLIMIT_NOFILE)
        used = set(int(name) for name in os.listdir('/proc/%d/fd' % far.process.pid))
        free = min(number for number in range(1000) if number not in used)
        resource.prlimit(far.process.pid, resource.RLIMIT_NOFILE, (free, before[1]))
        knock = socket.create_connection(('127.0.0.1', far.port))
        eventually('it complains', lambda: any('could not be taken' in text for text in far.said))
        self.assertTrue(line.answer(line.place('A'))['ok'])
        resource.prlimit(far.process.pid, resource.RLIMIT_NOFILE, before)
        knock.close()
        self.assertTrue(far.dial(first=50, **{'for': 'doctor'}).auth['ok'])

    def test_a_line_that_is_read_and_written_at_once_keeps_every_frame(self):
        """Python's TLS socket is not made for two threads at once."""
        desk = self.desk()
        far = self.listening(desk)
        line = far.connected()
        numbers = []
        for n in range(400):
            numbers.append(line.say('ping', filler='x' * (n * 97 % 5000)))
            if n % 10 == 0:
                numbers.append(line.say('positions', within_ms=3000))
        for number in numbers:
            self.assertTrue(line.answer(number)['ok'])


class Examinations(Case):
    def test_an_examination_takes_nothing_from_the_host_that_trades(self):
        desk = self.desk()
        far = self.listening(desk)
        line = far.connected()
        look = far.dial(first=700, **{'for': 'doctor'})
        self.assertTrue(look.auth['ok'], look.auth)
        look.hello(now_ms=None)
        checks = look.ask('doctor', connect_ms=5000, now_ms=now_ms())['checks']
        self.assertEqual([check['name'] for check in checks if check['ok'] is False], [])
        self.assertEqual(look.ask('place', client_order_id='X')['ok'], False)
        look.close()
        self.assertFalse(line.ended)
        self.assertTrue(line.answer(line.place('A'))['ok'])
        eventually('the examination leaves no process', lambda: len(far.children()) == 1)
        self.assertFalse(far.dial(**{'for': 'fun'}).auth['ok'])


if __name__ == '__main__':
    unittest.main()
