# -*- coding: utf-8 -*-
"""A counter in the place of XtQuant's native module, below the real xttrader.py.

It keeps its books in the folder `counter` of the userdata folder that the client is opened with, so that they outlive
this process:

  knobs.json      what the market is like and which faults strike; read again when it changes
  ledger.jsonl    what happened, a JSON object a line: accepted, rejected, fill, cancelled; the judge of every test
  strikes.jsonl   which faults struck, so that "the first two" counts over the deaths of processes; of {"every": n} a process
                  takes some of the chances since its last strike with it

A line of the ledger is handed to the system before anybody is told, so the death of this process loses none.

A fault is off, or true (always), or a number (only the first so many times), or {"every": n}, or {"at": [1, 3]}.
"""
import itertools
import json
import os
import signal
import threading
import time
from collections import deque

# What each exchange has; anything else is answered with -1.
PRICE_TYPES = {'SH': {11, 5, 42, 43, 44, 45}, 'SZ': {11, 5, 44, 45, 46, 47, 48}, 'BJ': {11, 5, 42, 43, 44, 45}}
OPEN = (48, 49, 50, 55)
FIRST_CHANCES = 20
# Rows of a list, and pushes of a day, after which an order that waits has its turn: a terminal takes orders while it lists.
SLICE = 1000
BEIJING = 8 * 3600


class Row(object):
    """What the native module hands over: attributes with both kinds of names are read."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class Strikes(object):
    """How often each fault had its chance and struck, over all processes."""

    def __init__(self, folder):
        path = os.path.join(folder, 'strikes.jsonl')
        self.chances, self.noted = {}, {}
        try:
            with open(path) as file:
                for line in file:
                    line = json.loads(line)
                    self.chances[line['chance']] = line['count']
        except (IOError, OSError):
            pass
        self.file = open(path, 'ab', buffering=0)

    def strikes(self, name, rule):
        if rule is None or rule is False:
            return False
        chance = self.chances[name] = self.chances.get(name, 0) + 1
        if rule is True:
            struck = True
        elif isinstance(rule, dict):
            struck = chance in rule['at'] if 'at' in rule else chance % rule['every'] == 0
        else:
            struck = chance <= rule
        # Of every so many, only the first of a process and those that struck are kept: the pushes of a long day would be millions.
        noted = self.noted[name] = self.noted.get(name, 0) + 1
        if struck or noted <= FIRST_CHANCES or not isinstance(rule, dict) or 'at' in rule:
            line = {'chance': name, 'struck': struck, 'count': chance}
            self.file.write(json.dumps(line).encode('utf-8') + b'\n')
        return struck


class Counter(object):
    """Orders, trades, money and holdings of one account."""

    def __init__(self, userdata):
        self.folder = os.path.join(userdata, 'counter')
        self.knobs, self.knobs_of = {}, None
        self.strikes = Strikes(self.folder)
        self.orders, self.trades = {}, []
        self.cash, self.frozen = 0.0, 0.0
        self.holdings = {}
        self.account = ''
        self.look()
        self.last_id = int(self.knob('first_order_id', 1000))
        self.begin()
        self.ledger = open(os.path.join(self.folder, 'ledger.jsonl'), 'ab', buffering=0)

    def look(self):
        path = os.path.join(self.folder, 'knobs.json')
        stamp = os.stat(path)
        stamp = (stamp.st_mtime_ns, stamp.st_ino)
        if stamp != self.knobs_of:
            with open(path, encoding='utf-8') as file:
                self.knobs = json.load(file)
            self.knobs_of = stamp

    def knob(self, name, default=None):
        return self.knobs.get(name, default)

    def fault(self, name):
        return self.strikes.strikes(name, self.knobs.get(name))

    def begin(self):
        self.account = self.knob('account', '55000001')
        # 2 is a stock account, 3 a credit account; a client that means the other kind is not served.
        self.kind = self.knob('account_type', 2)
        self.cash = float(self.knob('cash', 1000000))
        for row in self.knob('positions', []):
            self.holdings[row['symbol']] = dict(row, quantity=row['quantity'], sellable=row.get('sellable', row['quantity']),
                                                frozen=0, bought=0, yesterday=row['quantity'])
        try:
            with open(os.path.join(self.folder, 'ledger.jsonl'), 'rb') as file:
                for line in file.read().split(b'\n')[:-1]:
                    self.apply(json.loads(line.decode('utf-8')))
        except (IOError, OSError):
            pass

    def now_ms(self):
        return int(time.time() * 1000) + self.knob('clock_ahead_ms', 0)

    # -- the ledger

    def enter(self, line):
        line['ts'] = self.now_ms()
        self.ledger.write(json.dumps(line, ensure_ascii=False, separators=(',', ':')).encode('utf-8') + b'\n')
        self.apply(line)

    def apply(self, line):
        number = int(line['broker_order_id'])
        if line['event'] in ('accepted', 'rejected') and number not in self.orders:
            self.last_id = max(self.last_id, number)
            self.orders[number] = {
                'number': number, 'remark': line['remark'], 'symbol': line['symbol'], 'side': line['side'],
                'quantity': line['quantity'], 'price': line['price'] or 0.0, 'filled': 0, 'turnover': 0.0, 'status': 50,
                'message': '', 'ts': line['ts'], 'strategy': line.get('strategy', ''), 'fills': 0}
            if line['event'] == 'accepted':
                self.bind(self.orders[number], 1)
        order = self.orders[number]
        if line['event'] == 'rejected':
            order['status'], order['message'] = 57, line['reason']
        elif line['event'] == 'fill':
            self.settle(order, line)
        elif line['event'] == 'cancelled':
            order['status'] = 53 if order['filled'] else 54
            self.bind(order, -1)

    def bind(self, order, sign, shares=None):
        """Freezes, or frees, what the rest of an order binds."""
        rest = order['quantity'] - order['filled'] if shares is None else shares
        if order['side'] == 'buy':
            worth = rest * order['price'] * sign
            self.frozen += worth
            self.cash -= worth
        else:
            held = self.held(order['symbol'])
            held['frozen'] += rest * sign
            held['sellable'] -= rest * sign

    def held(self, symbol):
        return self.holdings.setdefault(symbol, {'symbol': symbol, 'quantity': 0, 'sellable': 0, 'frozen': 0,
                                                 'bought': 0, 'yesterday': 0, 'avg_cost': 0.0})

    def settle(self, order, line):
        shares, price = line['quantity'], line['price']
        self.bind(order, -1, shares)
        order['filled'] += shares
        order['turnover'] += shares * price
        order['fills'] += 1
        order['status'] = 56 if order['filled'] == order['quantity'] else 55
        held = self.held(order['symbol'])
        if order['side'] == 'buy':
            total = held['quantity'] + shares
            held['avg_cost'] = (held['quantity'] * float(held.get('avg_cost') or 0) + shares * price) / total
            held['quantity'], held['bought'] = total, held['bought'] + shares
            self.cash -= shares * price + line['commission']
        else:
            # What is sold was frozen, and stays unsellable.
            held['quantity'] -= shares
            held['sellable'] -= shares
            self.cash += shares * price - line['commission']
        self.trades.append(dict(line, number=order['number']))

    # -- what happens

    def serves(self, req):
        return req.m_strAccountID == self.account and req.m_nAccountType == self.kind

    def last_price(self, symbol):
        prices = self.knob('prices', {})
        if symbol in prices:
            return prices[symbol]
        held = self.holdings.get(symbol, {})
        return held.get('last_price')

    def objection(self, side, symbol, quantity, price):
        if self.knob('fill') == 'reject':
            return '[COUNTER] [251005] 拒绝委托'
        if side == 'sell' and self.held(symbol)['sellable'] < quantity:
            return '[COUNTER] [251021] 证券可用数量不足'
        if side == 'buy' and price * quantity > self.cash + 0.001:
            return '[COUNTER] [260200] 可用资金不足'
        return None

    def accept(self, req, remark):
        self.last_id += 1
        side = 'buy' if req.m_nOrderType in (23, 27) else 'sell'
        line = {'event': 'accepted', 'client_order_id': req.m_strOrderRemark, 'broker_order_id': str(self.last_id),
                'symbol': req.m_strStockCode, 'side': side, 'quantity': req.m_nOrderVolume, 'price': req.m_dPrice or None,
                'price_type': req.m_nPriceType, 'remark': remark, 'strategy': req.m_strStrategyName}
        objection = self.objection(side, req.m_strStockCode, req.m_nOrderVolume, req.m_dPrice or 0.0)
        if objection:
            line.update(event='rejected', reason=objection)
        self.enter(line)
        return self.orders[self.last_id]

    def fill_price(self, order):
        last = self.last_price(order['symbol'])
        limit = order['price']
        if not limit:
            return last
        if last is None:
            # Without a price the counter takes every limit for the market's.
            last = limit
        crosses = limit >= last if order['side'] == 'buy' else limit <= last
        return last if crosses else None

    def fill(self, order, shares=None):
        """Fills by the market; the lines that say so are in the ledger when this returns."""
        price = self.fill_price(order)
        if price is None or order['status'] not in OPEN:
            return []
        rest = order['quantity'] - order['filled']
        made = []
        for part in shares or self.shares(order, rest):
            part = min(part, order['quantity'] - order['filled'])
            if part > 0:
                made.append(self.fill_one(order, part, price))
        return made

    def shares(self, order, rest):
        mode = self.knob('fill', 'immediate')
        if mode == 'immediate':
            return [rest]
        if mode == 'parts':
            count = int(self.knob('parts', 4))
            each = max(1, rest // count)
            return [each] * (count - 1) + [rest - each * (count - 1)]
        if mode == 'half':
            return [rest // 2]
        return []

    def fill_one(self, order, shares, price):
        number = '%s%04d' % (order['number'], order['fills'] + 1)
        commission = round(max(0.0, shares * price * 0.00025), 2)
        self.enter({'event': 'fill', 'client_order_id': None, 'broker_order_id': str(order['number']),
                    'symbol': order['symbol'], 'side': order['side'], 'quantity': shares, 'price': price,
                    'fill_id': number, 'commission': commission, 'remark': order['remark']})
        return self.trades[-1]

    # -- rows as the terminal shows them

    def at(self, ts):
        shape = self.knob('times', 'epoch')
        seconds = ts // 1000
        if shape == 'epoch':
            return seconds
        local = time.gmtime(seconds + BEIJING)
        if shape == 'millis':
            return int(time.strftime('%H%M%S', local)) * 1000 + ts % 1000
        if shape == 'yesterday':
            return seconds - 86400
        return int(time.strftime('%H%M%S' if shape == 'clock' else '%Y%m%d%H%M%S', local))

    def order_row(self, order):
        average = order['turnover'] / order['filled'] if order['filled'] else 0.0
        # The returned price type is never the one that was sent.
        return Row(account_type=self.kind, account_id=self.account, stock_code=order['symbol'], order_id=order['number'],
                   order_sysid='S%d' % order['number'], order_time=self.at(order['ts']),
                   order_type=23 if order['side'] == 'buy' else 24, order_volume=order['quantity'],
                   price_type=50 if order['price'] else 88, price=order['price'], traded_volume=order['filled'],
                   traded_price=average, order_status=order['status'], status_msg=order['message'],
                   strategy_name=order['strategy'], order_remark=order['remark'], direction=48, offset_flag=48)

    def trade_row(self, trade):
        order = self.orders[trade['number']]
        # For a measurement: when it leaves here, in ns since 1970.
        number = str(time.time_ns()) if self.knob('stamped_trades') else trade['fill_id']
        row = Row(account_type=self.kind, account_id=self.account, stock_code=trade['symbol'],
                  order_type=23 if trade['side'] == 'buy' else 24, traded_id=number,
                  traded_time=self.at(trade['ts']), traded_price=trade['price'], traded_volume=trade['quantity'],
                  traded_amount=trade['price'] * trade['quantity'], order_id=order['number'],
                  order_sysid='S%d' % order['number'], strategy_name=order['strategy'], order_remark=order['remark'],
                  direction=48, offset_flag=48)
        if self.knob('commission', True):
            row.commission = trade['commission']
        return row

    def position_row(self, held):
        last = self.last_price(held['symbol']) or 0.0
        return Row(account_type=self.kind, account_id=self.account, stock_code=held['symbol'],
                   instrument_name=held.get('name', '五粮液'), volume=held['quantity'], can_use_volume=held['sellable'],
                   open_price=0.0, market_value=held['quantity'] * last, frozen_volume=held['frozen'],
                   on_road_volume=held['bought'], yesterday_volume=held['yesterday'],
                   avg_price=float(held.get('avg_cost') or 0), last_price=last, direction=48)

    def asset_row(self):
        value = sum(h['quantity'] * (self.last_price(h['symbol']) or 0.0) for h in self.holdings.values())
        return Row(account_type=self.kind, account_id=self.account, cash=round(self.cash, 2), frozen_cash=round(self.frozen, 2),
                   market_value=round(value, 2), total_asset=round(self.cash + self.frozen + value, 2),
                   fetch_balance=round(self.cash, 2))


def die():
    """As `kill -9` would."""
    os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))
    time.sleep(60)


def hang():
    while True:
        time.sleep(60)


class XtQuantAsyncClient(object):
    """The native client: requests go to a thread, answers come from it."""

    def __init__(self, path, name, session):
        self.path, self.session = path.decode('gb18030'), session
        self.counter = None
        self.bound = {}
        self.seqs = itertools.count(1)
        self.work = deque()
        self.ready = threading.Condition()
        self.lock = threading.RLock()
        self.subscribed = self.cut = False

    def __getattr__(self, name):
        if name.startswith('bindOn'):
            return lambda callback: self.bound.__setitem__(name, callback)
        raise AttributeError(name)

    def setTimeout(self, _timeout):
        pass

    def nextSeq(self):
        # Without a lock: who asks for a number never waits for what the counter does meanwhile.
        return next(self.seqs)

    def init(self):
        print('a native library prints what it likes')

    def start(self):
        thread = threading.Thread(target=self.run, name='counter')
        thread.daemon = True
        thread.start()

    def stop(self):
        hang()

    def connect(self):
        self.queue_file()
        folder = os.path.join(self.path, 'counter')
        if not os.path.isfile(os.path.join(folder, 'knobs.json')) or os.path.exists(os.path.join(folder, 'down')):
            return -1
        self.counter = Counter(self.path)
        if self.counter.fault('connect_minus_one'):
            return -1
        if self.counter.fault('connect_hangs'):
            hang()
        if self.counter.fault('die_in_connect'):
            die()
        return 0

    def queue_file(self):
        """What is left of a session in the terminal's folder; a used one would bring it back."""
        try:
            with open(os.path.join(self.path, 'down_queue_xtquant_%d' % self.session), 'a'):
                pass
        except (IOError, OSError):
            pass

    # -- the thread that answers

    def later(self, work, *arguments):
        with self.ready:
            self.work.append((work, arguments))
            self.ready.notify()

    def run(self):
        while True:
            with self.ready:
                while not self.work:
                    self.ready.wait()
                work, arguments = self.work.popleft()
            latency = self.counter.knob('latency_ms', 0) if self.counter else 0
            if latency:
                time.sleep(latency / 1000.0)
            work(*arguments)

    def by_slices(self, work):
        """Goes on with a long piece of work, and lets others have their turn in between."""
        for _ in work:
            return self.later(self.by_slices, work)

    def answer(self, name, seq, value):
        if not self.cut:
            self.bound['bindOn%sCallback' % name](seq, value)

    def push(self, name, *values):
        if self.cut or self.counter.fault('no_pushes'):
            return
        for _ in range(2 if self.counter.fault('duplicate_pushes') else 1):
            self.bound['bindOn%sCallback' % name](*values)

    def disconnect(self):
        if not self.cut:
            self.bound['bindOnDisconnectedCallback']()
            self.cut = True

    # -- orders

    def orderStockWithSeq(self, seq, req):
        counter = self.counter
        counter.look()
        if counter.fault('die_before_order'):
            die()
        if counter.fault('hang_before_order'):
            hang()
        if counter.fault('slow_order'):
            time.sleep(counter.knob('slow_seconds'))
        if counter.fault('disconnect_before_order'):
            self.disconnect()
            return
        if counter.fault('hang_after_order'):
            self.order(seq, req)
            hang()
        self.later(self.order, seq, req)

    def order(self, seq, req):
        counter = self.counter
        if counter.fault('request_lost'):
            return
        if not counter.serves(req):
            self.respond(seq, req, -1, '[COUNTER] 账号不存在')
            return
        if req.m_nPriceType not in PRICE_TYPES.get(req.m_strStockCode[-2:], ()) or counter.fault('minus_one_dead'):
            self.respond(seq, req, -1, '[COUNTER] 报价类型错误')
            return
        with self.lock:
            remark = req.m_strOrderRemark
            cut = counter.knob('remark_cut')
            if cut is not None:
                remark = remark[:cut]
            rewritten = counter.knob('remark_rewritten')
            if rewritten is not None:
                remark = rewritten + remark[len(rewritten):]
            order = counter.accept(req, remark)
            if counter.fault('die_after_order'):
                die()
            if counter.fault('silent_after_order'):
                # It takes orders and questions, and says nothing any more.
                self.cut = True
            if counter.fault('disconnect_during_order'):
                self.disconnect()
            first = counter.fault('push_first')
            if first:
                self.tell(order)
            self.reply(seq, req, order)
            if counter.fault('die_after_reply'):
                time.sleep(0.05)
                die()
            if not first:
                self.tell(order)
            if counter.fault('disconnect_after_order'):
                self.disconnect()

    def reply(self, seq, req, order):
        counter = self.counter
        if counter.fault('reply_dropped'):
            return
        if counter.fault('reply_late'):
            timer = threading.Timer(counter.knob('reply_late_ms') / 1000.0, self.respond, (seq, req, order['number'], ''))
            timer.daemon = True
            timer.start()
        elif counter.fault('minus_one_live'):
            self.respond(seq, req, -1, '')
        elif counter.fault('id_zero'):
            self.respond(seq, req, 0, '')
        else:
            self.respond(seq, req, order['number'], '')

    def respond(self, seq, req, number, error):
        self.answer('OrderStockResp', seq, Row(m_strAccountID=req.m_strAccountID, m_nOrderID=number,
                                               m_strStrategyName=req.m_strStrategyName,
                                               m_strOrderRemark=req.m_strOrderRemark, m_strErrorMsg=error))
        if number == -1 and self.counter.fault('error_under_minus_one'):
            self.push('OrderError', Row(account_id=req.m_strAccountID, order_id=-1, error_id=2147483647, seq=seq,
                                        error_msg='an error without an order', strategy_name='', order_remark=''))

    def tell(self, order):
        """The pushes of an order, as it goes through the market."""
        counter = self.counter
        self.push('StockOrder', counter.order_row(order))
        if order['status'] == 57:
            self.push('OrderError', Row(account_id=counter.account, order_id=order['number'], error_id=2147483647, seq=0,
                                        error_msg=order['message'], strategy_name='', order_remark=order['remark']))
            return
        if order['status'] not in OPEN:
            return
        for trade in counter.fill(order):
            self.push('StockTrade', counter.trade_row(trade))
            if counter.fault('die_after_fill'):
                die()
        if order['filled']:
            self.push('StockOrder', counter.order_row(order))
            self.push('StockAsset', counter.asset_row())
            self.push('StockPosition', counter.position_row(counter.held(order['symbol'])))
        delay = counter.knob('fill_after_ms')
        if delay is not None and order['status'] in OPEN:
            timer = threading.Timer(delay / 1000.0, self.later, (self.fill_later, order))
            timer.daemon = True
            timer.start()

    def fill_later(self, order):
        with self.lock:
            for trade in self.counter.fill(order, [order['quantity']]):
                self.push('StockTrade', self.counter.trade_row(trade))
                self.push('StockOrder', self.counter.order_row(order))

    def cancelOrderStockWithSeq(self, seq, req):
        if self.counter.fault('die_before_cancel'):
            die()
        if self.counter.fault('cancel_lost'):
            return
        self.later(self.cancel, seq, req)

    def cancel(self, seq, req):
        counter = self.counter
        with self.lock:
            order = counter.orders.get(req.m_nOrderID)
            if order is not None and order['status'] in OPEN and counter.fault('fill_during_cancel'):
                for trade in counter.fill(order, [order['quantity']]):
                    self.push('StockTrade', counter.trade_row(trade))
                self.push('StockOrder', counter.order_row(order))
            result = -2 if order is None else 0 if order['status'] in OPEN else -1
            self.answer('CancelOrderStockResp', seq, Row(m_strAccountID=req.m_strAccountID, m_nCancelResult=result,
                                                         m_nOrderID=req.m_nOrderID, m_strOrderSysID='',
                                                         m_strErrorMsg='' if result == 0 else '[COUNTER] 撤单失败'))
            if result == 0:
                counter.enter({'event': 'cancelled', 'client_order_id': None, 'broker_order_id': str(order['number']),
                               'symbol': order['symbol'], 'side': order['side'], 'price': None,
                               'quantity': order['quantity'] - order['filled']})
                if counter.fault('die_after_cancel'):
                    die()
                self.push('StockOrder', counter.order_row(order))

    # -- subscriptions and questions

    def subscribeWithSeq(self, seq, req):
        self.later(self.subscribe, seq, req)

    def subscribe(self, seq, req):
        if self.counter.fault('die_in_subscribe'):
            die()
        known = self.counter.serves(req)
        self.subscribed = known
        self.answer('SubscribeResp', seq, 0 if known else -1)
        if known:
            self.later(self.open_market)
        if known and self.counter.fault('replay_day'):
            self.by_slices(self.replay(list(self.counter.orders.values()), list(self.counter.trades)))
        late = self.counter.knob('disconnect_after_ms') if known else None
        if late is not None and self.counter.fault('disconnect_once'):
            timer = threading.Timer(late / 1000.0, self.disconnect)
            timer.daemon = True
            timer.start()

    def replay(self, orders, trades):
        for name, row, things in [('StockOrder', self.counter.order_row, orders), ('StockTrade', self.counter.trade_row, trades)]:
            for number, thing in enumerate(things, 1):
                self.push(name, row(thing))
                if number % SLICE == 0:
                    yield

    def open_market(self):
        """Orders that were open when the last client died meet the market again."""
        with self.lock:
            for order in list(self.counter.orders.values()):
                if order['status'] in OPEN and not order['filled']:
                    self.tell(order)

    def unsubscribeWithSeq(self, seq, req):
        self.later(self.answer, 'UnsubscribeResp', seq, 0)

    def queryAccountStatusWithSeq(self, seq, _req):
        status = Row(account_id=self.counter.account, account_type=self.counter.kind, status=self.counter.knob('account_status', 0))
        self.later(self.answer, 'QueryAccountStatus', seq, [status])

    def queryAccountInfosWithSeq(self, seq, _req):
        self.later(self.answer, 'QueryAccountInfos', seq, [Row(account_id=self.counter.account, account_type=self.counter.kind)])

    def queried(self, name, seq, rows):
        counter = self.counter
        counter.look()
        if counter.fault('die_in_query'):
            die()
        if counter.fault('query_lost'):
            return
        if counter.fault('query_none'):
            rows = None
        elif counter.fault('query_empty'):
            rows = []
        self.answer('QueryStock' + name, seq, rows)

    def gather(self, name, seq, things, row, foreign):
        """The list of what was there when it was begun; what came since is shown by the next one."""
        counter, rows = self.counter, []
        counter.look()
        edge = counter.now_ms() - counter.knob('visible_after_ms', 0)
        for number, thing in enumerate(things(), 1):
            if thing['ts'] <= edge:
                rows.append(row(thing))
            if number % SLICE == 0:
                yield
        rows += [Row(**dict({'account_id': counter.account}, **fields)) for fields in counter.knob(foreign, [])]
        self.queried(name, seq, rows)

    def queryStockOrdersWithSeq(self, seq, _req):
        self.later(self.by_slices, self.gather('Orders', seq, lambda: list(self.counter.orders.values()),
                                               self.counter.order_row, 'foreign_orders'))

    def queryStockTradesWithSeq(self, seq, _req):
        self.later(self.by_slices, self.gather('Trades', seq, lambda: list(self.counter.trades), self.counter.trade_row,
                                               'foreign_trades'))

    def queryStockPositionsWithSeq(self, seq, _req):
        def ask():
            with self.lock:
                rows = [self.counter.position_row(h) for h in self.counter.holdings.values()]
            self.queried('Positions', seq, rows)
        self.later(ask)

    def queryStockAssetWithSeq(self, seq, _req):
        self.later(lambda: self.queried('Asset', seq, [self.counter.asset_row()]))


def __getattr__(name):
    """Any request is a bag of fields."""
    if name.endswith('Req') or name.endswith('Param'):
        return Row
    raise AttributeError(name)
