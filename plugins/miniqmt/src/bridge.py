#!/usr/bin/env python3
# -*- coding: utf-8 -*-
"""The bridge between quantTrader's plugin `miniqmt` and the XtQuant terminal (miniQMT).

One file, standard library only, Python 3.6 or later. It speaks the protocol of PROTOCOL.md, over standard input and
output as the plugin's child, or over TLS with `--listen` on the machine where the terminal runs.

Rules that money depends on:
  * an order's client order id is on the disk before the terminal is called, and a repeat is answered from there;
  * whatever is not certain is called unknown, never refused;
  * the caps of the configuration are enforced here, whatever the other end wants;
  * only asynchronous calls of xttrader, each with a deadline; what hangs ends this process, which is started again.
"""
import collections
import functools
import glob
import hashlib
import hmac
import io
import json
import os
import platform
import random
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

PROTOCOL = 1
BRIDGE = '1.0.0'
MAX_FRAME = 1 << 20
# Rows of one part of an answer: far below the cap, however long their texts are.
PART_BYTES = 400 * 1024
# So many rows of a long list are read in one go; then what else has come has its turn.
SLICE_ROWS = 100
# So many pushes are told in one go, for the same reason.
PUSHES_AT_ONCE = 200
# So many orders without an outcome are named, the youngest: all of a long day would fill more than a frame.
MOST_UNDECIDED = 1000
# Events that wait for an end that is away; who misses more compares the books.
RING = 5000
MAX_ID = 20
# Beijing has had no summer time since 1991.
BEIJING = 8 * 3600
KEEP_DAYS = 30
SYMBOL = re.compile(r'^\d{6}\.(SH|SZ|BJ)$')
LOAD_DAYS = 8

BUY, SELL = 23, 24
# Of shares alone, margin trades included; what repays a loan directly (30, 32, 43, 45) is neither.
SIDES = {23: 'buy', 24: 'sell', 27: 'buy', 28: 'sell', 29: 'buy', 31: 'sell', 40: 'buy', 41: 'sell', 42: 'buy', 44: 'sell'}
STATUS = {48: 'pending', 49: 'pending', 50: 'working', 51: 'cancel_pending', 52: 'cancel_pending',
          53: 'partially_cancelled', 54: 'cancelled', 55: 'partially_filled', 56: 'filled', 57: 'rejected',
          255: 'unknown'}
ACCOUNT_STATUS = {-1: 'invalid', 0: 'ok', 1: 'waiting for login', 2: 'logging in', 3: 'login failed',
                  4: 'initialising', 5: 'correcting its data', 6: 'closed', 7: 'disabled (the assistant node)',
                  8: 'disabled (the system)', 9: 'disabled (the user)'}
# What the terminal calls each kind of price, by exchange. What is missing here does not exist there.
PRICE_TYPES = {
    'limit': {'SH': 11, 'SZ': 11, 'BJ': 11},
    'market': {'SH': 42, 'SZ': 47, 'BJ': 42},
    'best_five_then_cancel': {'SH': 42, 'SZ': 47, 'BJ': 42},
    'best_five_then_limit': {'SH': 43, 'BJ': 43},
    'opposite_best': {'SH': 44, 'SZ': 44, 'BJ': 44},
    'own_best': {'SH': 45, 'SZ': 45, 'BJ': 45},
    'immediate_or_cancel': {'SZ': 46},
    'fill_or_kill': {'SZ': 48},
}


# How far the host's clock is ahead of this machine's: `not_after` and the day are the host's.
AHEAD_MS = 0


def now_ms():
    return int(time.time() * 1000) + AHEAD_MS


def set_clock(host_ms):
    global AHEAD_MS
    if isinstance(host_ms, int):
        AHEAD_MS = host_ms - int(time.time() * 1000)


def day_of(ms):
    """The day in Beijing, as 20260731."""
    return time.strftime('%Y%m%d', time.gmtime(ms // 1000 + BEIJING))


# ---------------------------------------------------------------- frames

class Broken(Exception):
    """The stream cannot be read any further."""


# One for all frames: `json.dumps` with settings of one's own makes another one for each.
WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':'))


def json_of(thing):
    return WRITER.encode(thing).encode('utf-8', 'replace')


def pack(frame):
    frame['v'] = PROTOCOL
    return framed(json_of(frame))


def framed(body):
    if len(body) > MAX_FRAME:
        raise Broken('a frame of %d bytes is larger than %d' % (len(body), MAX_FRAME))
    return struct.pack('>I', len(body)) + body


def read_raw(stream):
    """The bytes of one frame's body; None at the end of the stream."""
    head = stream.read(4)
    if not head:
        return None
    if len(head) < 4:
        raise Broken('the stream ends within a frame')
    size = struct.unpack('>I', head)[0]
    if size > MAX_FRAME:
        raise Broken('a frame of %d bytes is larger than %d' % (size, MAX_FRAME))
    body = stream.read(size)
    if len(body) < size:
        raise Broken('the stream ends within a frame')
    return body


def parse(body):
    try:
        frame = json.loads(body.decode('utf-8'))
    except (UnicodeDecodeError, ValueError) as e:
        raise Broken('a frame is not JSON: %s' % e)
    if not isinstance(frame, dict):
        raise Broken('a frame is no object')
    if frame.get('v') != PROTOCOL:
        raise Broken('a frame of version %r came, and this bridge speaks %d' % (frame.get('v'), PROTOCOL))
    return frame


CAPS = ('max_order_value', 'max_order_shares', 'max_orders_a_day', 'symbols')


def checked_caps(given):
    """Caps with whole numbers and amounts as text; ValueError names what is wrong. A cap that is misspelt is no cap."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError('`caps` is %r; give an object with %s' % (given, ', '.join(CAPS)))
    unknown = sorted(set(given) - set(CAPS))
    if unknown:
        raise ValueError('`caps` has the unknown key `%s`; known are %s' % (unknown[0], ', '.join(CAPS)))
    caps = {name: value for name, value in given.items() if value is not None}
    for name in ('max_order_shares', 'max_orders_a_day'):
        value = caps.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError('`caps.%s` is %r; give a whole number from 0' % (name, value))
    most = caps.get('max_order_value')
    if most is not None:
        text = most if isinstance(most, str) else '%.4f' % most if isinstance(most, float) else str(most)
        if isinstance(most, bool) or not re.match(r'^\d{1,15}(\.\d+)?$', text) or float(text) <= 0:
            raise ValueError('`caps.max_order_value` is %r; give an amount above 0' % (most,))
        caps['max_order_value'] = text
    symbols = caps.get('symbols', [])
    if not isinstance(symbols, list):
        raise ValueError('`caps.symbols` is %r; give a list of symbols such as "600000.SH"' % (symbols,))
    for symbol in symbols:
        if not isinstance(symbol, str) or not SYMBOL.match(symbol):
            raise ValueError('`caps.symbols` has %r, which is no symbol such as 600000.SH' % (symbol,))
    return caps


def checked_limits(given):
    """What an order is held to: caps, and the two switches."""
    limits = {'caps': checked_caps(given.get('caps'))}
    for name in ('read_only', 'dry_run'):
        value = given.get(name)
        if value is not None and not isinstance(value, bool):
            raise ValueError('`%s` is %r; give true or false' % (name, value))
        limits[name] = bool(value)
    return limits


class Refused(Exception):
    """Nothing was sent to the terminal, for certain."""

    def __init__(self, text, code='refused'):
        Exception.__init__(self, text)
        self.code = code


class Unsure(Exception):
    """Nobody knows whether it took effect."""


# ---------------------------------------------------------------- files and locks

class Lock(object):
    """A file that one process holds; the system frees it when the process dies."""

    def __init__(self, path):
        self.path = path
        self.file = None

    def take(self, patience):
        until = time.monotonic() + patience
        self.file = open(self.path, 'a+')
        while True:
            try:
                if os.name == 'nt':
                    import msvcrt
                    self.file.seek(0)
                    msvcrt.locking(self.file.fileno(), msvcrt.LK_NBLCK, 1)
                else:
                    import fcntl
                    fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except (IOError, OSError):
                if time.monotonic() >= until:
                    self.file.close()
                    self.file = None
                    return False
                time.sleep(0.02)

    def free(self):
        if self.file is not None:
            self.file.close()
            self.file = None


def alone(work):
    """A method that only one thread at a time is in, with others of its object that are so, too."""
    @functools.wraps(work)
    def held(self, *arguments):
        with self.alone:
            return work(self, *arguments)
    return held


def files_of(folder, pattern):
    """The folder's files of this pattern, whatever its own name holds: brackets in it are no pattern."""
    return glob.glob(os.path.join(glob.escape(folder), pattern))


def make_folder(path):
    if not os.path.isdir(path):
        os.makedirs(path, 0o700)


class Record(object):
    """What was asked of the terminal, on the disk before it was asked. Who only looks takes no lock and changes nothing.

    The main thread and the pump both write to it, and a sync lets the other one run: each has it alone."""

    def __init__(self, folder, day, only_look=False):
        self.folder, self.only_look = folder, only_look
        self.alone = threading.RLock()
        if not only_look:
            make_folder(folder)
            self.lock = Lock(os.path.join(folder, 'record.lock'))
            if not self.lock.take(10):
                # One that is ending may hold it a while yet: it is tried again.
                raise Refused('another bridge holds the record of orders in its folder; end it first', 'not_ready')
        self.orders = {}
        self.by_order = {}
        self.day = None
        self.file = None
        self.placed = 0
        # Intents and numbers so far, so that a question knows which came before it.
        self.count = self.numbers = 0
        # As long as the file is meant to be: what lies behind is a write that failed.
        self.length = 0
        if not only_look:
            self.tidy()
        self.load(day)

    def path(self, day):
        return os.path.join(self.folder, 'orders-%s.jsonl' % day)

    def tidy(self):
        files = sorted(files_of(self.folder, 'orders-*.jsonl'))
        for old in files[:-KEEP_DAYS]:
            os.remove(old)

    def load(self, day):
        self.orders.clear()
        for path in sorted(files_of(self.folder, 'orders-*.jsonl'))[-LOAD_DAYS:]:
            self.read(path)
        self.roll(day)

    def read(self, path):
        day = os.path.basename(path)[7:15]
        with open(path, 'rb') as file:
            data = file.read()
        whole = data.rfind(b'\n') + 1
        if whole < len(data) and not self.only_look:
            # The tail of a write that the machine's end cut: what it was to announce was never sent.
            with open(path, 'r+b') as file:
                file.truncate(whole)
        for line in data[:whole].splitlines():
            if line.strip():
                self.take(json.loads(line.decode('utf-8')), day)

    def take(self, line, day):
        if line['ev'] == 'intent':
            self.count += 1
            self.orders[line['id']] = {'day': day, 'fp': line['fp'], 'order': None, 't': line['t'], 'n': self.count}
        elif line['id'] in self.orders:
            entry = self.orders[line['id']]
            if line.get('order'):
                self.number(entry, line['order'])
            entry['text'] = line.get('text')
            entry['unsent'] = line['ev'] == 'unsent'

    @alone
    def number(self, entry, order):
        self.numbers += 1
        entry['order'], entry['a'] = order, self.numbers

    @alone
    def roll(self, day):
        """Begins the day's file; ids of days long gone are let go."""
        if day == self.day:
            return
        if not self.only_look:
            # Where it cannot be begun the day before stands, and no order is sent.
            fresh = io.open(self.path(day), 'ab', buffering=0)
            if self.file is not None:
                self.file.close()
            self.file = fresh
            self.length = os.fstat(fresh.fileno()).st_size
        self.day = day
        self.placed = sum(1 for entry in self.orders.values() if entry['day'] == day)
        self.by_order = {entry['order']: name for name, entry in self.orders.items()
                         if entry['order'] and entry['day'] == day}
        keep = sorted(set(entry['day'] for entry in self.orders.values()))[-LOAD_DAYS:]
        self.orders = {name: entry for name, entry in self.orders.items() if entry['day'] in keep}

    @alone
    def write(self, line, durable):
        """A whole line or none: half a one would swallow the next, and a full disk takes half a one without a word."""
        line['t'] = now_ms()
        data = json.dumps(line, separators=(',', ':')).encode('utf-8') + b'\n'
        if os.fstat(self.file.fileno()).st_size != self.length:
            self.file.truncate(self.length)
        try:
            count = self.file.write(data)
            if count != len(data):
                raise OSError('%s of %d bytes were written; is the disk full?' % (count, len(data)))
            if durable:
                os.fsync(self.file.fileno())
        except (IOError, OSError):
            self.file.truncate(self.length)
            raise
        self.length += len(data)

    @alone
    def intend(self, name, fingerprint):
        try:
            self.write({'ev': 'intent', 'id': name, 'fp': fingerprint}, True)
        except (IOError, OSError) as e:
            raise Refused('the record of orders in %s cannot be written, and without it no order is sent: %s'
                          % (self.folder, e))
        self.count += 1
        self.orders[name] = {'day': self.day, 'fp': fingerprint, 'order': None, 't': now_ms(), 'n': self.count}
        self.placed += 1

    def note(self, line):
        """Not synced: what is lost with it is found again by the remark."""
        try:
            self.write(line, False)
        except (IOError, OSError) as e:
            complain('the record of orders lacks %r: %s' % (line['ev'], e))

    @alone
    def accepted(self, name, order):
        entry = self.orders.get(name)
        if entry is None or entry['order'] == order:
            return
        self.number(entry, order)
        self.by_order[order] = name
        self.note({'ev': 'accepted', 'id': name, 'order': order})

    @alone
    def doubtful(self, name, text):
        entry = self.orders.get(name)
        if entry is not None and entry['order'] is None:
            entry['text'] = text
            entry['unheard'] = True
            self.note({'ev': 'doubt', 'id': name, 'text': text})

    @alone
    def unheard(self, name):
        """Its number is known, and who sent it was not answered with that, or too late."""
        if name in self.orders:
            self.orders[name]['unheard'] = True

    @alone
    def unsent(self, name, text):
        """It was recorded, and then not sent after all."""
        self.orders[name].update(text=text, unsent=True)
        self.note({'ev': 'unsent', 'id': name, 'text': text})

    @alone
    def known(self):
        """How many intents and numbers there are: what a list that is asked for now is held against."""
        return self.count, self.numbers

    @alone
    def numbered(self, numbers):
        """The terminal's numbers of today that were known then, each with its order's time."""
        entries = [(order, self.orders[name]) for order, name in self.by_order.items()]
        return [(order, entry['t']) for order, entry in entries if entry['a'] <= numbers]

    @alone
    def undecided(self, asked):
        """Orders of today that a list must show before it proves the absence of any, each with its time: all that were sent
        before the list was asked for. A number does not take one out, for the host may not have heard it: lists lag all the same.
        Only one whose number came since, as the answer to its call, is none of them: who sent it knows that it is there."""
        intents, numbers = asked
        return [(name, entry['t']) for name, entry in self.orders.items()
                if entry['day'] == self.day and entry['n'] <= intents and not entry.get('unsent')
                and not (entry['order'] and entry['a'] > numbers and not entry.get('unheard'))]


class Sessions(object):
    """Session ids of our own: a fresh one for each connection, since a used one brings back what was left of it."""

    def __init__(self, folder, span, userdata):
        make_folder(folder)
        self.folder, self.span, self.userdata = folder, span, userdata
        self.file = os.path.join(folder, 'sessions.json')
        self.held = None

    def used(self):
        try:
            with open(self.file) as file:
                return json.load(file)
        except (IOError, OSError, ValueError):
            return []

    def queues(self):
        """Ids that have queue files in the terminal's folder, with those files."""
        found = collections.defaultdict(list)
        for path in files_of(self.userdata, '*queue*'):
            number = re.search(r'(\d+)$', os.path.basename(path))
            if number and os.path.isfile(path):
                found[int(number.group(1))].append(path)
        return found

    def holder(self, number):
        return Lock(os.path.join(self.folder, 'session-%d.lock' % number))

    def take(self):
        """A fresh id; queue files of earlier ones of ours are removed, unless another bridge still uses them."""
        pool = Lock(os.path.join(self.folder, 'sessions.lock'))
        if not pool.take(10):
            raise Refused('another bridge holds the pool of session ids for ten seconds', 'not_ready')
        try:
            used, queues = self.used(), self.queues()
            left = []
            for number in used:
                holder = self.holder(number)
                if not holder.take(0):
                    left.append(number)
                    continue
                gone = True
                for path in queues.get(number, []):
                    try:
                        os.remove(path)
                    except OSError:
                        gone = False
                holder.free()
                if gone:
                    try:
                        os.remove(holder.path)
                    except OSError:
                        pass
                else:
                    left.append(number)
            first, last = self.span
            last_used = used[-1] if used else random.randint(first, last)
            number = last_used
            for _ in range(last - first + 1):
                number = first + (number + 1 - first) % (last - first + 1)
                if number not in left and number not in queues:
                    break
            else:
                raise Refused('every session id from %d to %d is in use; widen `session_ids`' % (first, last), 'setup')
            self.held = self.holder(number)
            if not self.held.take(0):
                raise Refused('the session id %d is held by another bridge' % number, 'setup')
            with open(self.file + '.new', 'w') as file:
                json.dump(left + [number], file)
            os.replace(self.file + '.new', self.file)
            return number
        finally:
            pool.free()


# ---------------------------------------------------------------- what the terminal says, in the protocol's words

def attribute(thing, *names):
    for name in names:
        value = getattr(thing, name, None)
        if value is not None:
            return value
    return None


def text_of(value):
    if value is None:
        return ''
    if isinstance(value, bytes):
        for coding in ('utf-8', 'gb18030'):
            try:
                return value.decode(coding)
            except UnicodeDecodeError:
                pass
        return value.decode('utf-8', 'replace')
    return str(value)


def amount(value, digits):
    """A decimal as text; None where the terminal has none: it says so by absurd numbers."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if number != number or abs(number) > 1e15:
        return None
    text = '%.*f' % (digits, number)
    return text.rstrip('0').rstrip('.') if '.' in text else text


def whole(value):
    if value is None:
        return 0
    return int(value)


def moment(value):
    """Milliseconds since 1970 UTC from epoch seconds or milliseconds, YYYYMMDDHHMMSS, or HHMMSS or HHMMSSmmm of today; None
    for what is none of these."""
    try:
        number = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    if 10 ** 13 <= number < 10 ** 14:
        try:
            # `timegm` without the module: the zone is fixed.
            import calendar
            number = (calendar.timegm(time.strptime(str(number), '%Y%m%d%H%M%S')) - BEIJING) * 1000
        except ValueError:
            return None
    elif 10 ** 9 <= number < 10 ** 10:
        number *= 1000
    elif 0 < number < 240000 or 10 ** 7 <= number < 10 ** 9:
        clock, millis = (number, 0) if number < 240000 else divmod(number, 1000)
        hours, minutes, seconds = clock // 10000, clock // 100 % 100, clock % 100
        if hours > 23 or minutes > 59 or seconds > 59:
            return None
        today = (now_ms() // 1000 + BEIJING) // 86400 * 86400 - BEIJING
        return (today + hours * 3600 + minutes * 60 + seconds) * 1000 + millis
    # From 2001 to 2100.
    return number if 978307200000 <= number < 4102444800000 else None


def number_of(value):
    """The terminal's number of an order as text; empty where it has none yet."""
    try:
        return str(int(value)) if int(value) > 0 else ''
    except (TypeError, ValueError):
        return ''


def order_row(row):
    kind = attribute(row, 'order_type', 'm_nOrderType')
    return {
        'order_id': number_of(attribute(row, 'order_id', 'm_nOrderID')),
        'remark': text_of(attribute(row, 'order_remark', 'm_strOrderRemark')),
        'symbol': text_of(attribute(row, 'stock_code', 'm_strStockCode')),
        'side': SIDES.get(kind),
        'quantity': whole(attribute(row, 'order_volume', 'm_nOrderVolume')),
        'filled': whole(attribute(row, 'traded_volume', 'm_nTradedVolume')),
        'price': amount(attribute(row, 'price', 'm_dPrice'), 4),
        'avg_price': amount(attribute(row, 'traded_price', 'm_dTradedPrice'), 6),
        'status': STATUS.get(attribute(row, 'order_status', 'm_nOrderStatus'), 'unknown'),
        'reason': text_of(attribute(row, 'status_msg', 'm_strStatusMsg')),
        'exchange_id': text_of(attribute(row, 'order_sysid', 'm_strOrderSysID')),
        'placed_ms': moment(attribute(row, 'order_time', 'm_nOrderTime')),
    }


def trade_row(row):
    kind = attribute(row, 'order_type', 'm_nOrderType')
    return {
        'trade_id': text_of(attribute(row, 'traded_id', 'm_strTradedID')),
        'order_id': number_of(attribute(row, 'order_id', 'm_nOrderID')),
        'remark': text_of(attribute(row, 'order_remark', 'm_strOrderRemark')),
        'symbol': text_of(attribute(row, 'stock_code', 'm_strStockCode')),
        'side': SIDES.get(kind),
        'quantity': whole(attribute(row, 'traded_volume', 'm_nTradedVolume')),
        'price': amount(attribute(row, 'traded_price', 'm_dTradedPrice'), 4),
        'commission': amount(attribute(row, 'commission', 'm_dCommission'), 4),
        'traded_ms': moment(attribute(row, 'traded_time', 'm_nTradedTime')),
    }


def position_row(row):
    return {
        'symbol': text_of(attribute(row, 'stock_code', 'm_strStockCode')),
        'name': text_of(attribute(row, 'instrument_name', 'm_strInstrumentName')),
        'quantity': whole(attribute(row, 'volume', 'm_nVolume')),
        'sellable': whole(attribute(row, 'can_use_volume', 'm_nCanUseVolume')),
        'frozen': whole(attribute(row, 'frozen_volume', 'm_nFrozenVolume')),
        'on_road': whole(attribute(row, 'on_road_volume', 'm_nOnRoadVolume')),
        'yesterday': whole(attribute(row, 'yesterday_volume', 'm_nYesterdayVolume')),
        'avg_cost': amount(attribute(row, 'avg_price', 'm_dAvgPrice', 'open_price', 'm_dOpenPrice'), 6),
        'last_price': amount(attribute(row, 'last_price', 'm_dLastPrice'), 4),
        'market_value': amount(attribute(row, 'market_value', 'm_dMarketValue'), 4),
    }


def asset_row(row):
    return {
        'available': amount(attribute(row, 'cash', 'm_dCash'), 4),
        'frozen': amount(attribute(row, 'frozen_cash', 'm_dFrozenCash'), 4),
        'market_value': amount(attribute(row, 'market_value', 'm_dMarketValue'), 4),
        'total': amount(attribute(row, 'total_asset', 'm_dTotalAsset'), 4),
        'withdrawable': amount(attribute(row, 'fetch_balance', 'm_dFetchBalance'), 4),
    }


def error_row(row):
    code = attribute(row, 'error_id')
    return {
        'order_id': number_of(attribute(row, 'order_id')),
        'remark': text_of(attribute(row, 'order_remark')),
        'code': int(code) if isinstance(code, int) and code != 2147483647 else None,
        'reason': text_of(attribute(row, 'error_msg')),
    }


ROWS = {'order': order_row, 'trade': trade_row, 'position': position_row, 'asset': asset_row,
        'order_error': error_row, 'cancel_error': error_row}


# ---------------------------------------------------------------- the terminal's library

def import_xtquant(folder):
    """xttrader, xttype and the version. What the package does by itself is left out where it goes without: it asks an
    index for updates, for up to ten seconds, and prints what it finds."""
    import importlib
    import importlib.util
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.find_spec('xtquant')
    if spec is None:
        raise ImportError('there is no package xtquant')
    sys.modules['xtquant'] = importlib.util.module_from_spec(spec)
    try:
        importlib.import_module('xtquant.xttrader')
    except Exception:  # a package that needs its own beginning after all
        for name in [name for name in sys.modules if name.split('.')[0] == 'xtquant']:
            del sys.modules[name]
        import_whole()
    return (importlib.import_module('xtquant.xttrader'), importlib.import_module('xtquant.xttype'),
            version_of(spec.origin))


def import_whole():
    """The package with all that it does, without what it asks an index with."""
    import importlib
    hidden = sys.modules.get('requests')
    sys.modules['requests'] = None
    try:
        importlib.import_module('xtquant.xttrader')
    finally:
        if hidden is None:
            sys.modules.pop('requests', None)
        else:
            sys.modules['requests'] = hidden


def version_of(origin):
    """What the package calls its version, by any of the names that it has had for it."""
    try:
        with io.open(origin, encoding='utf-8', errors='replace') as file:
            found = re.search(r'__ver\w+__\s*=\s*["\']([^"\']+)', file.read())
    except (IOError, OSError, TypeError):
        found = None
    return found.group(1) if found else 'unknown'


def terminal_runs():
    """Whether a miniQMT process is there; None where that cannot be told."""
    if os.name != 'nt':
        return None
    try:
        out = subprocess.check_output(['tasklist', '/FO', 'CSV', '/NH'], stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    names = text_of(out).lower()
    return 'xtminiqmt.exe' in names or 'xtitclient.exe' in names


def in_service_session():
    """Whether this process is in Windows' session 0, where the terminal cannot be reached."""
    if os.name != 'nt':
        return False
    import ctypes
    session = ctypes.c_ulong()
    done = ctypes.windll.kernel32.ProcessIdToSessionId(os.getpid(), ctypes.byref(session))
    return bool(done) and session.value == 0


def folder_fault(path):
    """What is wrong with the folder that the configuration names, and what to do; None if nothing is."""
    if not path:
        return 'no folder is configured; set `session_path` to the terminal\'s folder `userdata_mini`'
    if not os.path.isdir(path):
        return 'the folder %s does not exist; set `session_path` to the folder `userdata_mini` in the place where ' \
               'the terminal is installed' % path
    name = os.path.basename(os.path.normpath(path)).lower()
    if name == 'userdata':
        return '%s belongs to the full QMT; miniQMT uses the folder `userdata_mini` beside it' % path
    if name != 'userdata_mini' and os.path.isdir(os.path.join(path, 'userdata_mini')):
        return '%s is the terminal\'s own folder; set `session_path` to `userdata_mini` in it' % path
    return None


def causes(path, session):
    """Why a connect fails with -1, the likeliest first, each with what to do."""
    found, open_ones = [], []
    fault = folder_fault(path)
    if fault:
        found.append(fault)
    else:
        open_ones.append('the folder may belong to another terminal than the one that runs: `session_path` must be '
                         'the `userdata_mini` of the running one')
    runs = terminal_runs()
    if runs is False:
        found.append('no miniQMT process runs: start XtMiniQmt, tick "independent trading", and log in')
    else:
        open_ones.insert(0, 'the terminal may not be running or not be logged in (it asks for a login every day): '
                            'log in, with "independent trading" ticked')
    open_ones.append('another program may use the session id %s; move `session_ids`' % session)
    if in_service_session():
        found.append('this process runs as a Windows service, in session 0, where the terminal cannot be reached: run '
                     'it in the session of the user who is logged in')
    return found + open_ones


class Terminal(object):
    """One connection of xttrader. It is never stopped: after a loss the whole process ends, and a new one begins."""

    def __init__(self, config, inbox):
        self.config, self.inbox = config, inbox
        self.trader = self.account = self.session = None
        self.version = None
        self.stage = 'not connected'

    def connect(self, wait):
        """Imports, connects, subscribes. Runs on a thread of its own, for each of these may hang."""
        config = self.config
        self.stage = 'importing xtquant'
        try:
            xttrader, xttype, self.version = import_xtquant(config.get('xtquant'))
        except Exception as e:  # whatever a broken package raises is an answer for the user
            raise Refused(import_fault(e, config.get('xtquant')), 'setup')
        self.stage = 'looking at the folder'
        path = config.get('path') or ''
        fault = folder_fault(path)
        if fault and not os.path.isdir(path):
            raise Refused(fault, 'setup')
        try:
            path.encode('gb18030')
        except UnicodeEncodeError as e:
            raise Refused('the folder\'s name cannot be told to the terminal: %s' % e, 'setup')
        self.account = xttype.StockAccount(config['account'], config.get('account_type') or 'STOCK')
        if isinstance(self.account, str):
            raise Refused('the terminal\'s library does not take the account: %s' % self.account, 'setup')
        self.stage = 'choosing a session id'
        # Kept: it holds the lock of the id.
        self.sessions = Sessions(config['sessions'], config['session_ids'], path)
        self.session = self.sessions.take()
        self.stage = 'starting xttrader'
        self.trader = xttrader.XtQuantTrader(path, self.session, make_callback(xttrader, self.inbox))
        self.trader.start()
        self.stage = 'connecting to the terminal'
        result = self.trader.connect()
        if result != 0:
            listed = causes(path, self.session)
            numbered = '; '.join('(%d) %s' % (n + 1, cause) for n, cause in enumerate(listed))
            raise Refused('the terminal does not take the connection (%s). Likely causes: %s' % (result, numbered),
                          'no_connection')
        self.stage = 'subscribing the account'
        result = self.trader.subscribe(self.account)
        if result != 0:
            raise Refused('the terminal does not subscribe the account (%s): check `account_id` and `account_type`, '
                          'and that this account is logged in there' % result, 'no_account')
        self.stage = 'asking for the account\'s status'
        status = self.status(wait)
        if status not in (None, 0):
            raise Refused('the account is not ready in the terminal: %s' % ACCOUNT_STATUS.get(status, status),
                          'not_ready')
        self.stage = 'connected'

    def status(self, wait):
        """The account's status; None where the terminal does not say."""
        rows = wait_for(lambda done: self.trader.query_account_status_async(done), wait)
        for row in rows or []:
            if self.is_of_account(row):
                return attribute(row, 'status', 'm_nStatus')
        return None

    def is_of_account(self, row):
        """Whether a status is of this account: one number may have others beside it, as for Hong Kong's shares."""
        kind = attribute(row, 'account_type', 'm_nAccountType')
        return (text_of(attribute(row, 'account_id', 'm_strAccountID')) == self.config['account']
                and kind in (None, self.account.account_type))


def import_fault(error, folder):
    where = folder or 'the packages of %s' % sys.executable
    bits = struct.calcsize('P') * 8
    base = 'xtquant cannot be imported from %s (%s: %s). ' % (where, type(error).__name__, error)
    if isinstance(error, ImportError) and 'xtpythonclient' in str(error):
        return base + 'Its native part fits neither this Python %s (%d bit) nor this system: take a 64-bit Python 3.6 ' \
                      'to 3.12 on Windows, or name one by `python`' % (platform.python_version(), bits)
    return base + 'Install it with `%s -m pip install xtquant`, or set `xtquant` to the folder that holds it, such as ' \
                  'bin.x64\\Lib\\site-packages of the terminal' % sys.executable


def wait_for(call, seconds):
    """Makes an asynchronous query and waits for it, at most so long."""
    answer, done = [], threading.Event()

    def take(rows):
        answer.append(rows)
        done.set()

    call(take)
    if not done.wait(seconds):
        raise Refused('the terminal has not answered within %s s' % seconds, 'not_ready')
    return answer[0]


def make_callback(xttrader, inbox):
    """The callbacks only enqueue: all of them share one thread of xttrader's."""

    class Callback(xttrader.XtQuantTraderCallback):
        def on_disconnected(self):
            inbox.put(('down', None, 'the terminal ended the connection'))

        def on_account_status(self, status):
            inbox.put(('status', None, status))

        def on_stock_asset(self, asset):
            inbox.put(('push', 'asset', asset))

        def on_stock_order(self, order):
            inbox.put(('push', 'order', order))

        def on_stock_trade(self, trade):
            inbox.put(('push', 'trade', trade))

        def on_stock_position(self, position):
            inbox.put(('push', 'position', position))

        def on_order_error(self, error):
            inbox.put(('push', 'order_error', error))

        def on_cancel_error(self, error):
            inbox.put(('push', 'cancel_error', error))

        def on_order_stock_async_response(self, response):
            inbox.put(('placed', None, response))

        def on_cancel_order_stock_async_response(self, response):
            inbox.put(('cancelled', None, response))

    return Callback()


class Inbox(object):
    """What waits for the pump. `queue.Queue` costs twice as much.

    Answers do not queue behind pushes: a terminal that pushes a long day again has hundreds of thousands of them. Pushes keep
    their order, what ends the connection among them, which comes behind what was pushed before it."""

    PUSHED = ('push', 'status', 'probed', 'down')

    def __init__(self):
        self.answers, self.pushes = collections.deque(), collections.deque()
        self.ready = threading.Condition(threading.Lock())

    def put(self, item):
        with self.ready:
            (self.pushes if item[0] in self.PUSHED else self.answers).append(item)
            self.ready.notify()

    def take(self, seconds):
        """Every answer, and as many pushes as leave the pump free again soon."""
        with self.ready:
            if not self.answers and not self.pushes:
                self.ready.wait(seconds)
            items, self.answers = self.answers, collections.deque()
            for _ in range(min(len(self.pushes), PUSHES_AT_ONCE)):
                items.append(self.pushes.popleft())
            return items


# ---------------------------------------------------------------- the bridge itself

class Leaving(object):
    """A list on its way out: its pieces, and until when its next frame is worth sending."""

    def __init__(self, pieces, number, line, until, within):
        self.pieces, self.number, self.line, self.until, self.within = pieces, number, line, until, within


class Bridge(object):
    """One process beside the terminal. The main thread reads requests and calls xttrader; the pump answers."""

    def __init__(self, read, write, exit_code):
        self.read, self.write, self.leave = read, write, exit_code
        self.inbox = Inbox()
        self.config = None
        self.fault = Refused('no configuration came yet', 'setup')
        self.record = None
        self.terminal = None
        self.connecting = None
        self.is_up = False
        self.epoch = '%x-%x' % (os.getpid(), now_ms())
        self.ring = collections.deque(maxlen=RING)
        self.number = 0
        self.cursor = None
        # What the host of the line that stands asks for beyond the configuration.
        self.limits = checked_limits({})
        # Grows with each line: what was asked on another line is not answered on this one.
        self.line = 0
        self.waiting = {}
        self.early = {}
        self.lost = collections.OrderedDict()
        # Lists on their way out, a piece of each in turn.
        self.lists = collections.deque()
        self.lock = threading.Lock()
        self.calling = None
        self.hang_after = 10.0
        # A terminal that freezes says so to nobody: it is asked now and then. `owed` is since when it has said nothing at all.
        self.silent_after = 30.0
        self.owed = None
        self.probe_at = 0.0
        # True where the configuration was refused: another process may be given a better one.
        self.is_useless = False
        self.ending = False
        self.swept = time.monotonic()

    # -- the main thread

    def run(self):
        pump = threading.Thread(target=self.pump, name='pump')
        pump.daemon = True
        pump.start()
        try:
            while True:
                body = read_raw(self.read)
                if body is None:
                    # Nobody is there to follow an order: end at once, whatever the terminal's library does.
                    self.leave(0)
                self.handle(parse(body))
        except Broken as e:
            complain('the stream is broken: %s' % e)
            self.leave(4)

    def handle(self, frame):
        op, number = frame.get('op'), frame.get('id')
        work = getattr(self, 'op_' + op, None) if isinstance(op, str) else None
        if work is None:
            return self.answer(number, {'ok': False, 'code': 'refused', 'error': 'this bridge knows no request %r' % op})
        try:
            reply = work(frame)
        except Refused as e:
            reply = {'ok': False, 'code': e.code, 'error': str(e)}
        except Unsure as e:
            reply = {'ok': False, 'code': 'unknown', 'error': str(e)}
        except Exception as e:  # a fault of the library's must not end the stream, and is never "refused"
            complain(traceback.format_exc())
            reply = {'ok': False, 'code': 'unknown', 'error': '%s: %s' % (type(e).__name__, e)}
        if reply is not None:
            self.answer(number, reply)
        if self.is_useless and op == 'hello':
            # The other end knows why now. Behind a relay the next line would meet it again, and its old reason, for ever.
            self.inbox.put(('end', None, None))

    def answer(self, number, reply, line=None):
        if number is not None:
            self.inbox.put(('reply', number, (self.line if line is None else line, reply)))

    def library(self, what, call, *arguments):
        """Calls the terminal's library; the pump ends this process when that hangs."""
        self.calling = (what, time.monotonic())
        try:
            return call(*arguments)
        finally:
            self.calling = None

    def op_config(self, frame):
        if self.config is not None:
            raise Refused('the configuration was given already')
        set_clock(frame.get('now_ms'))
        config = dict(frame)
        config['session_ids'] = [int(value) for value in frame.get('session_ids') or [100000, 999999]]
        self.hang_after = float(frame.get('hang_after_ms') or 10000) / 1000
        self.silent_after = float(frame.get('silent_after_ms') or 30000) / 1000
        self.is_useless = True
        try:
            config.update(checked_limits(config))
        except ValueError as e:
            self.fault = Refused(str(e), 'setup')
            raise self.fault
        if config.get('record'):
            try:
                self.record = Record(config['record'], day_of(now_ms()), config['read_only'])
            except (IOError, OSError, ValueError, KeyError) as e:
                self.fault = Refused('the record of orders in %s cannot be read: %s' % (config['record'], e), 'setup')
                raise self.fault
            except Refused as e:
                self.fault = e
                raise
        self.config = config
        self.is_useless = False
        return {'ok': True}

    def configured(self):
        if self.config is None:
            raise self.fault
        return self.config

    def op_hello(self, frame):
        config = self.configured()
        if frame.get('protocol') != PROTOCOL:
            raise Refused('the other end speaks version %r of the protocol, this bridge %d: take both from one '
                          'release' % (frame.get('protocol'), PROTOCOL), 'setup')
        wanted = frame.get('account')
        if wanted and not hmac.compare_digest(wanted, digest(config.get('account') or '')):
            raise Refused('this bridge trades another account than the one in the configuration of the host', 'setup')
        try:
            self.limits = checked_limits(frame.get('limits') or {})
        except ValueError as e:
            raise Refused('the limits of the host: %s' % e, 'setup')
        set_clock(frame.get('now_ms'))
        resume = frame.get('resume') or {}
        after = resume.get('after') if resume.get('epoch') == self.epoch else None
        reply = {'ok': True, 'protocol': PROTOCOL, 'bridge': BRIDGE, 'epoch': self.epoch, 'pid': os.getpid(),
                 'python': platform.python_version(), 'now_ms': now_ms(), 'up': self.is_up, 'limits': True}
        self.inbox.put(('attach', frame.get('id'), (after, reply)))
        return None

    def op_detach(self, frame):
        """The line is gone, and with `line` another one stands: what is said from that frame on is for it."""
        self.line += 1
        self.limits = checked_limits({})
        self.inbox.put(('attach', None, frame.get('line')))
        if self.connecting is not None:
            # It may hang for ever, and nobody waits for it any more.
            self.inbox.put(('end', None, None))
        return None

    def op_ping(self, _frame):
        self.probe()
        return {'ok': True, 'now_ms': now_ms(), 'up': self.is_up}

    def probe(self):
        """Asks the terminal something small, some times within the time that it may be silent."""
        now = time.monotonic()
        if not self.is_up or now < self.probe_at:
            return
        self.probe_at = now + self.silent_after / 4
        if self.owed is None:
            self.owed = now
        self.library('status', self.terminal.trader.query_account_status_async,
                     lambda rows: self.inbox.put(('probed', None, rows)))

    def op_connect(self, frame):
        self.configured()
        if self.is_up:
            return {'ok': True, 'session': self.terminal.session, 'xtquant': self.terminal.version}
        if self.terminal is not None:
            # xttrader is used once: an old one goes on calling back, and keeps its threads and handles.
            raise Refused('a connection was begun already; it takes another bridge to begin anew', 'not_ready')
        self.terminal = Terminal(self.config, self.inbox)
        wait = float(frame.get('query_ms') or 3000) / 1000
        self.connecting = threading.Thread(target=self.connect, args=(frame.get('id'), self.line, wait), name='connect')
        self.connecting.daemon = True
        self.connecting.start()
        return None

    def connect(self, number, line, wait):
        try:
            self.terminal.connect(wait)
            self.is_up = True
            reply = {'ok': True, 'session': self.terminal.session, 'xtquant': self.terminal.version}
        except Refused as e:
            reply = {'ok': False, 'code': e.code, 'error': str(e), 'stage': self.terminal.stage}
        except Exception as e:  # whatever the library raises, the other end must hear of it
            complain(traceback.format_exc())
            reply = {'ok': False, 'code': 'no_connection', 'stage': self.terminal.stage,
                     'error': '%s while %s: %s' % (type(e).__name__, self.terminal.stage, e)}
        self.connecting = None
        self.answer(number, reply, line)
        if not self.is_up:
            self.inbox.put(('end', None, None))

    def up(self):
        if not self.is_up:
            raise Refused('the bridge is not connected to the terminal', 'not_ready')
        return self.terminal

    # -- orders

    def op_place(self, frame):
        terminal = self.up()
        name = frame.get('client_order_id')
        order = self.checked(frame)
        fingerprint = digest(json.dumps([order[key] for key in ('symbol', 'side', 'quantity', 'price', 'price_kind')]))
        self.roll()
        known = self.record.orders.get(name) if self.record else None
        if known is not None:
            return self.repeated(name, known, fingerprint)
        self.may_change()
        for limits in (self.config, self.limits):
            self.within_caps(order, limits['caps'])
        not_after = frame.get('not_after')
        if not_after is not None and now_ms() > not_after:
            raise Refused('the time that the order was good for has passed')
        if self.config['dry_run'] or self.limits['dry_run']:
            raise Refused('a dry run: %(side)s %(quantity)d %(symbol)s at %(price)s would be sent now' % order)
        self.record.intend(name, fingerprint)
        if not_after is not None and now_ms() > not_after:
            self.record.unsent(name, 'the time that the order was good for passed while it was recorded')
            raise Refused('the time that the order was good for passed while it was recorded')
        deadline = time.monotonic() + float(frame.get('within_ms') or 5000) / 1000
        seq = self.library(
            'place', terminal.trader.order_stock_async, terminal.account, order['symbol'],
            BUY if order['side'] == 'buy' else SELL, order['quantity'], order['price_type'], float(order['price'] or 0),
            text_of(frame.get('strategy'))[:20], name)
        self.expect(seq, frame.get('id'), name, 'place', deadline)
        return None

    def roll(self):
        if self.record is not None:
            try:
                self.record.roll(day_of(now_ms()))
            except (IOError, OSError) as e:
                raise Refused('the record of today\'s orders cannot be begun in %s: %s' % (self.record.folder, e))

    def checked(self, frame):
        """The order in the terminal's words, or why it has none."""
        name = frame.get('client_order_id')
        if not isinstance(name, str) or not re.match(r'^[\x21-\x7e]{1,%d}$' % MAX_ID, name):
            raise Refused('a client order id has 1 to %d ASCII characters without blanks' % MAX_ID)
        symbol, side, quantity = frame.get('symbol'), frame.get('side'), frame.get('quantity')
        if not isinstance(symbol, str) or not SYMBOL.match(symbol):
            raise Refused('%r is no symbol such as 600000.SH' % symbol)
        if side not in ('buy', 'sell'):
            raise Refused('%r is neither buy nor sell' % side)
        if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 < quantity <= 100000000:
            raise Refused('%r is no number of shares' % quantity)
        kind = frame.get('price_kind')
        price_type = PRICE_TYPES.get(kind, {}).get(symbol[-2:])
        if price_type is None:
            raise Refused('there is no order of the kind %r at the exchange %s' % (kind, symbol[-2:]))
        price = frame.get('price')
        if price is not None and not (isinstance(price, str) and re.match(r'^\d{1,9}(\.\d{1,4})?$', price)
                                      and float(price) > 0):
            raise Refused('%r is no price' % price)
        if kind == 'limit' and price is None:
            raise Refused('an order with a limit needs a price')
        return {'symbol': symbol, 'side': side, 'quantity': quantity, 'price': price, 'price_kind': kind,
                'price_type': price_type}

    def may_change(self):
        if self.config['read_only'] or self.limits['read_only'] or self.record is None:
            raise Refused('this session only reads (`read_only`)')

    def within_caps(self, order, caps):
        symbols = caps.get('symbols')
        if symbols is not None and order['symbol'] not in symbols:
            raise Refused('%s is not among the symbols that the cap `symbols` allows' % order['symbol'])
        most = caps.get('max_order_shares')
        if most is not None and order['quantity'] > most:
            raise Refused('%d shares are more than the cap `max_order_shares` of %d' % (order['quantity'], most))
        most = caps.get('max_order_value')
        if most is not None:
            if order['price'] is None:
                raise Refused('the value of an order without a price cannot be held against `max_order_value`')
            # In ten-thousandths of a yuan: whole numbers are exact.
            if order['quantity'] * ten_thousandths(order['price']) > ten_thousandths(most):
                raise Refused('%d shares at %s are worth more than the cap `max_order_value` of %s yuan'
                              % (order['quantity'], order['price'], most))
        most = caps.get('max_orders_a_day')
        if most is not None and self.record.placed >= most:
            raise Refused('%d orders were placed today, as many as the cap `max_orders_a_day` allows'
                          % self.record.placed)

    def repeated(self, name, known, fingerprint):
        if known['fp'] != fingerprint:
            raise Unsure('another order was placed under this client order id before; ask for the day\'s orders')
        if known['order']:
            return {'ok': True, 'order_id': known['order'], 'repeated': True}
        if known.get('unsent'):
            raise Refused(known['text'])
        raise Unsure('this order was sent before and its outcome is not known (%s); ask for the day\'s orders'
                     % (known.get('text') or 'no answer came'))

    def op_cancel(self, frame):
        terminal = self.up()
        self.may_change()
        if self.config['dry_run'] or self.limits['dry_run']:
            raise Refused('a dry run: a cancel of order %s would be sent now' % (frame.get('order_id') or ''))
        name, order = frame.get('client_order_id'), frame.get('order_id')
        if not order and self.record is not None:
            entry = self.record.orders.get(name)
            order = entry and entry['order']
        if not order or not str(order).isdigit():
            raise Refused('the terminal\'s number of this order is not known', 'no_order')
        deadline = time.monotonic() + float(frame.get('within_ms') or 5000) / 1000
        seq = self.library('cancel', terminal.trader.cancel_order_stock_async, terminal.account, int(order))
        self.expect(seq, frame.get('id'), name, 'cancel', deadline)
        return None

    def expect(self, seq, number, name, what, deadline):
        """The answer may have come before the call that asks for it did."""
        with self.lock:
            early = self.early.pop((what, seq), None)
            self.waiting[(what, seq)] = (number, name, deadline, self.line)
        if early is not None:
            self.inbox.put(('placed' if what == 'place' else 'cancelled', None, early))
        elif seq is None or seq <= 0:
            self.inbox.put(('no_seq', (what, seq), None))

    # -- questions

    def op_orders(self, frame):
        self.ask(frame, 'order', lambda t, done: t.trader.query_stock_orders_async(t.account, done))

    def op_trades(self, frame):
        self.ask(frame, 'trade', lambda t, done: t.trader.query_stock_trades_async(t.account, done))

    def op_positions(self, frame):
        self.ask(frame, 'position', lambda t, done: t.trader.query_stock_positions_async(t.account, done))

    def op_account(self, frame):
        self.ask(frame, 'asset', lambda t, done: t.trader.query_stock_asset_async(
            t.account, lambda row: done(None if row is None else [row])))

    def ask(self, frame, kind, call):
        terminal, number = self.up(), frame.get('id')
        if not isinstance(number, int):
            raise Refused('%r is no number of a question' % (number,))
        asked = self.record.known() if self.record is not None else (0, 0)
        within = float(frame.get('within_ms') or 5000) / 1000
        key = ('ask', number, self.line, asked, within)
        with self.lock:
            self.waiting[key] = (number, kind, time.monotonic() + within, self.line)
        self.library(frame.get('op'), call, terminal, lambda rows: self.inbox.put(('rows', key, rows)))

    def op_doctor(self, frame):
        line = self.line
        worker = threading.Thread(target=lambda: self.answer(frame.get('id'), {'ok': True, 'checks': doctor(
            self.configured(), frame)}, line))
        worker.daemon = True
        worker.start()

    # -- the pump

    def pump(self):
        try:
            while True:
                out = []
                for what, number, value in self.inbox.take(0 if self.lists else self.pause()):
                    self.tell(out, what, number, value)
                self.sweep(out)
                if self.lists:
                    self.go_on(out)
                if self.cursor is not None:
                    self.events(out)
                if out:
                    self.give(b''.join(out))
                if self.ending:
                    self.leave(0)
        except Exception:  # without the pump nothing is ever answered again
            complain(traceback.format_exc())
            self.leave(5)

    def give(self, data):
        try:
            self.write(data)
        except (IOError, OSError, ValueError):
            # The other end is gone.
            self.leave(0)

    def pause(self):
        with self.lock:
            if len(self.waiting) > 64:
                return 0.05
            times = [waited[2] for waited in self.waiting.values()]
        # Not less than the sweep's own step, or the last moments before a deadline would be spent spinning.
        return max(0.05, min([0.25] + [deadline - time.monotonic() for deadline in times]))

    def sweep(self, out):
        """What has waited too long, and what hangs."""
        now = time.monotonic()
        calling = self.calling
        if calling is not None and now - calling[1] > self.hang_after:
            complain('the call for %r hangs in the terminal\'s library; the bridge ends' % calling[0])
            self.leave(3)
        if now - self.swept < 0.05:
            return
        self.swept = now
        owed = self.owed
        if owed is not None and now - owed > self.silent_after and not self.ending:
            self.lose('the terminal has said nothing for %d s, though it was asked' % (now - owed))
        with self.lock:
            late = [key for key, waited in self.waiting.items() if now >= waited[2]]
            gone = [(key, self.waiting.pop(key)) for key in late]
        for key, (number, name, _, line) in gone:
            if key[0] == 'ask':
                reply = {'ok': False, 'code': 'not_ready', 'error': 'the terminal has not answered in time'}
            else:
                reply = {'ok': False, 'code': 'unknown', 'error': 'the terminal has not answered in time'}
                # An answer that comes yet still tells the order's number.
                self.lost[key] = name
                if len(self.lost) > 1000:
                    self.lost.popitem(last=False)
                if key[0] == 'place':
                    self.record.doubtful(name, 'no answer in time')
            self.reply(out, line, dict(reply, re=number))
        self.prune()

    def prune(self):
        """xttrader remembers every order it was ever answered; it needs only those of the last moments."""
        trader = self.terminal.trader if self.terminal else None
        for name in ('handled_async_order_stock_order_id', 'handled_async_cancel_order_stock_order_id',
                     'handled_async_cancel_order_stock_order_sys_id', 'queuing_order_errors_byid',
                     'queuing_order_errors_byseq', 'queuing_cancel_errors_by_order_id',
                     'queuing_cancel_errors_by_order_sys_id'):
            kept = getattr(trader, name, None)
            if kept is not None and len(kept) > 2000:
                kept.clear()
        with self.lock:
            if len(self.early) > 1000:
                self.early.clear()

    def reply(self, out, line, frame):
        """Answers on the line that asked; the record keeps what another one is not told."""
        if line == self.line:
            out.append(pack(frame))

    # What comes from the terminal, and shows that it lives.
    HEARD = ('push', 'status', 'placed', 'cancelled', 'rows', 'probed')

    def tell(self, out, what, number, value):
        if what in self.HEARD:
            self.owed = None
        if what == 'reply':
            self.reply(out, value[0], dict(value[1], re=number))
        elif what == 'push':
            self.push(number, value)
        elif what == 'placed':
            self.placed(out, value)
        elif what == 'cancelled':
            self.cancelled(out, value)
        elif what == 'rows':
            self.rows(out, number, value)
        elif what == 'no_seq':
            waited = self.claim(number[0], number[1])
            if waited is not None:
                told = 'the terminal\'s library answers the call with %s' % number[1]
                if number[0] == 'place':
                    self.record.doubtful(waited[1], told)
                self.reply(out, waited[3], {'re': waited[0], 'ok': False, 'code': 'unknown', 'error': told})
        elif what == 'down':
            self.lose(value)
        elif what == 'end':
            self.ending = True
        elif what == 'status':
            self.account_status(value)
        elif what == 'probed':
            for row in value or []:
                self.account_status(row)
        elif what == 'attach':
            self.attach(out, number, value)

    def lose(self, reason):
        """Tells it, and ends: a lost connection is made anew by another process, never by this one."""
        self.is_up = False
        self.event('down', {'reason': reason})
        self.ending = True

    def attach(self, out, number, value):
        if number is None:
            self.cursor = None
            if value is not None:
                out.append(pack({'line': value}))
            return
        after, reply = value
        oldest = self.ring[0][0] if self.ring else self.number + 1
        gap = after is None or after + 1 < oldest or after > self.number
        self.cursor = self.number if gap else after
        out.append(pack(dict(reply, re=number, next=self.cursor + 1, resync=gap)))

    def events(self, out):
        if self.cursor >= self.number:
            return
        oldest = self.ring[0][0]
        if self.cursor + 1 < oldest:
            # More came than is kept: the other end compares the books instead.
            out.append(pack({'gap': oldest}))
            self.cursor = oldest - 1
        for position in range(len(self.ring) - (self.number - self.cursor), len(self.ring)):
            out.append(self.ring[position][1])
        self.cursor = self.number

    def event(self, kind, data):
        self.number += 1
        self.ring.append((self.number, pack({'ev': self.number, 'kind': kind, 'data': data})))

    def is_ours(self, thing):
        found = attribute(thing, 'account_id', 'm_strAccountID')
        return found is None or text_of(found) == self.config['account']

    def push(self, kind, thing):
        if not self.is_ours(thing):
            return
        try:
            row = ROWS[kind](thing)
        except (TypeError, ValueError) as e:
            if kind in ('order', 'trade') and not self.is_recorded(thing):
                complain('a pushed %s of another program cannot be read: %s' % (kind, e))
                return
            self.event('unreadable', {'reason': 'a pushed %s: %s' % (kind, e)})
            return
        self.named(row)
        self.event(kind, row)

    def named(self, row):
        """The client order id where our own record knows it by the terminal's number, and whether the record knows the row at
        all; the remark stays beside it."""
        if 'order_id' in row:
            row['client_order_id'] = self.record.by_order.get(row['order_id']) if self.record is not None else None
            row['recorded'] = row['client_order_id'] is not None or self.is_of_today(row['remark'])

    def account_status(self, status):
        if not self.terminal.is_of_account(status):
            return
        code = attribute(status, 'status', 'm_nStatus')
        if code not in (None, 0):
            self.lose('the account is no longer ready: %s' % ACCOUNT_STATUS.get(code, code))

    def claim(self, what, seq, response=None):
        with self.lock:
            waited = self.waiting.pop((what, seq), None)
            if waited is None and (what, seq) not in self.lost:
                self.early[(what, seq)] = response
        return waited

    def placed(self, out, response):
        seq = response.seq
        waited = self.claim('place', seq, response)
        order = number_of(response.order_id)
        error = text_of(attribute(response, 'error_msg'))
        if waited is None:
            name = self.lost.pop(('place', seq), None)
            if name is not None and order:
                self.late(name, order)
            return
        number, name, deadline, line = waited
        if order:
            if line == self.line:
                out.append(pack({'re': number, 'ok': True, 'order_id': order}))
            # Where this thread was held up, the host may have given up before.
            if line != self.line or time.monotonic() >= deadline:
                self.late(name, order)
            else:
                self.record.accepted(name, order)
            return
        # -1 has been seen for orders that live: it proves nothing.
        told = 'the terminal answers with the number %s%s' % (response.order_id, error and ' (%s)' % error)
        self.record.doubtful(name, told)
        self.reply(out, line, {'re': number, 'ok': False, 'code': 'unknown', 'error': told})

    def late(self, name, order):
        """A number that came when nobody waited for it any more."""
        self.record.unheard(name)
        self.record.accepted(name, order)
        self.event('late', {'client_order_id': name, 'order_id': order})

    def cancelled(self, out, response):
        waited = self.claim('cancel', response.seq, response)
        if waited is None:
            self.lost.pop(('cancel', response.seq), None)
            return
        result = attribute(response, 'cancel_result')
        if result == 0:
            self.reply(out, waited[3], {'re': waited[0], 'ok': True})
            return
        error = text_of(attribute(response, 'error_msg'))
        meaning = {-1: 'finished or refused', -2: 'not known there', -3: 'not logged in'}.get(result, 'failed')
        self.reply(out, waited[3], {'re': waited[0], 'ok': False, 'code': 'cancel_failed',
                                    'error': 'the terminal answers the cancel with %s (%s%s)'
                                             % (result, meaning, error and ': ' + error)})

    def rows(self, out, key, rows):
        with self.lock:
            waited = self.waiting.pop(key, None)
        if waited is None or waited[3] != self.line:
            return
        number, kind, until, line = waited
        # What the list is held against is what was known as it was asked for: orders go on while it is made and read.
        try:
            fresh, open_ = self.expected(rows, key[3]) if kind == 'order' else ((), ())
        except Refused as e:
            out.append(pack({'re': number, 'ok': False, 'code': 'not_ready', 'error': str(e)}))
            return
        self.lists.append(Leaving(self.listing(number, line, kind, rows, fresh, open_), number, line, until, key[4]))

    def go_on(self, out):
        """A slice of a list that is on its way out, of each in turn: nothing waits for the whole of a long day's, another list as
        little as an order. One whose next frame takes too long is given up, a little before its host does."""
        leaving = self.lists.popleft()
        piece = next(leaving.pieces, None)
        if piece is None:
            return
        now = time.monotonic()
        if piece:
            out.append(piece)
            leaving.until = now + leaving.within
        elif now >= leaving.until + leaving.within / 8:
            leaving.pieces.close()
            self.reply(out, leaving.line, {'re': leaving.number, 'ok': False, 'code': 'not_ready',
                                           'error': 'the terminal\'s list could not be read and sent in time'})
            return
        self.lists.append(leaving)

    def listing(self, number, line, kind, rows, fresh, open_):
        """Reads a list slice by slice and gives its frames as they fill, so that the other end sees that it goes on and no long
        day is held twice. Whether it is whole shows at its end: rows before a refusal count for nothing."""
        part, size, count, left_out, lacking, open_ = [], 0, 0, [], dict(fresh), dict(open_)
        try:
            if rows is None:
                raise Refused('the terminal has no answer yet (None)')
            for position, thing in enumerate(rows):
                if position % SLICE_ROWS == SLICE_ROWS - 1:
                    yield b''
                if line != self.line:
                    return
                row = self.listed(kind, thing, left_out)
                if row is None:
                    continue
                if kind == 'order':
                    if not row['order_id'] and row['recorded']:
                        raise Refused('the list has an order of ours without a number yet')
                    lacking.pop(row['order_id'], None)
                    open_.pop(row['remark'], None)
                    # The number says more than a remark that was cut.
                    open_.pop(row['client_order_id'], None)
                text = json_of(row)
                if part and size + len(text) > PART_BYTES:
                    yield framed(b'{"v":%d,"re":%d,"ok":true,"more":true,"rows":[%s]}' % (PROTOCOL, number, b','.join(part)))
                    if line != self.line:
                        return
                    part, size = [], 0
                part.append(text)
                size += len(text) + 1
                count += 1
            for order, is_new in lacking.items():
                if is_new or not count:
                    raise Refused('the list lacks order %s, which the terminal accepted today' % order)
        except Refused as e:
            yield pack({'re': number, 'ok': False, 'code': 'not_ready', 'error': str(e)})
            return
        more = {'ok': True, 'count': count}
        if kind == 'order':
            youngest = sorted(open_.items(), key=lambda one: -one[1])[:MOST_UNDECIDED]
            more['undecided'] = [{'client_order_id': name, 'age_ms': max(0, now_ms() - t)} for name, t in youngest]
        if left_out:
            more['left_out'] = left_out[:20]
        last = json_of(more)
        yield framed(b'{"v":%d,"re":%d,"rows":[%s],%s' % (PROTOCOL, number, b','.join(part), last[1:]))

    def listed(self, kind, thing, left_out):
        """A row of a list, or nothing. Another program's that cannot be read is left out; of ours, or of what is held, none is."""
        if not self.is_ours(thing):
            return None
        try:
            row = ROWS[kind](thing)
        except (TypeError, ValueError) as e:
            told = 'a row of the terminal\'s list cannot be read: %s' % e
            if kind not in ('order', 'trade') or self.is_recorded(thing):
                raise Refused(told)
            left_out.append(told)
            return None
        self.named(row)
        return row

    def is_recorded(self, thing):
        """Whether the record knows what the terminal shows, by its number or its remark."""
        if self.record is None:
            return False
        number = number_of(attribute(thing, 'order_id', 'm_nOrderID'))
        remark = text_of(attribute(thing, 'order_remark', 'm_strOrderRemark'))
        return number in self.record.by_order or self.is_of_today(remark)

    def is_of_today(self, name):
        entry = self.record.orders.get(name) if self.record is not None else None
        return entry is not None and entry['day'] == self.record.day

    def expected(self, rows, asked):
        """What a list of the day's orders must show: the numbers that the terminal gave today before it was asked, and whether so
        lately that a list without them is not whole (a fresh order shows late, and an empty list is often none). One that came
        later is no lack: of a long day's list, orders may come faster than it is made. And what it may leave open: orders of
        today whose call has ended; that a list does not show one is no proof that it, or another, is not there."""
        if self.record is None or rows is None:
            return (), ()
        self.roll()
        since = now_ms() - int(self.config.get('visible_ms') or 30000)
        accepted = [(order, t > since) for order, t in self.record.numbered(asked[1])]
        fresh = [one for one in accepted if one[1]] or accepted[:1]
        with self.lock:
            # Who waits no longer, or waited on another line, has no answer to come.
            waiting = set(waited[1] for key, waited in self.waiting.items()
                          if key[0] == 'place' and waited[3] == self.line and waited[2] > time.monotonic())
        return fresh, [one for one in self.record.undecided(asked) if one[0] not in waiting]


def ten_thousandths(text):
    left, _, right = text.partition('.')
    return int(left) * 10000 + int((right + '0000')[:4])


def digest(text):
    return hashlib.sha256(text.encode('utf-8')).hexdigest()


def complain(text):
    sys.stderr.write('%s\n' % text)
    sys.stderr.flush()


# ---------------------------------------------------------------- doctor

def doctor(config, frame):
    """Looks at everything that trading needs, and says for each what was seen and what to do."""
    checks = []

    def check(name, ok, saw, todo=''):
        checks.append({'name': name, 'ok': ok, 'saw': saw, 'todo': '' if ok else todo})
        return ok

    bits = struct.calcsize('P') * 8
    version = sys.version_info
    check('python', version >= (3, 6) and bits == 64, 'Python %s, %d bit, at %s'
          % (platform.python_version(), bits, sys.executable),
          'install a 64-bit Python 3.6 to 3.12 from python.org and name it by `python`')
    path = config.get('path') or ''
    fault = folder_fault(path)
    check('userdata', fault is None, fault or '%s is there' % path, 'set `session_path` to the folder `userdata_mini` '
                                                                   'of the terminal that is logged in')
    runs = terminal_runs()
    check('terminal', runs, {True: 'a miniQMT process runs', False: 'no miniQMT process runs',
                             None: 'this system does not say which terminal runs'}[runs],
          'start XtMiniQmt, tick "independent trading", and log in' if runs is False else '')
    check('session', not in_service_session(), 'a service\'s session 0' if in_service_session()
          else 'an ordinary session', 'run it in the session of the user who is logged in, not as a service')
    try:
        _, _, xtquant = import_xtquant(config.get('xtquant'))
        has_xtquant = check('xtquant', True, 'xtquant %s' % xtquant)
    except Exception as e:  # whatever a broken package raises is what the user must see
        has_xtquant = check('xtquant', False, import_fault(e, config.get('xtquant')), 'install the package, see above')
    if fault is None or os.path.isdir(path):
        sessions = Sessions(config['sessions'], config['session_ids'], path)
        first, last = config['session_ids']
        foreign = sorted(n for n in sessions.queues() if first <= n <= last and n not in sessions.used())
        check('session ids', not foreign, 'no other program uses ids from %d to %d' % (first, last) if not foreign
              else 'other programs left queue files for %s' % ', '.join(str(n) for n in foreign[:5]),
              'move `session_ids` to a span that no other program uses')
    host = frame.get('now_ms')
    own = int(time.time() * 1000)
    off = abs(own - host) if host else 0
    check('clock', off < 2000 and own > 1750000000000, 'the clocks of host and bridge differ by %d ms' % off,
          'let both machines set their clocks from the network: orders that are good for seconds hang on it')
    if has_xtquant and os.path.isdir(path):
        connect(config, frame, check)
    return checks


def connect(config, frame, check):
    terminal = Terminal(config, Inbox())
    result = []

    def work():
        try:
            terminal.connect(float(frame.get('query_ms') or 3000) / 1000)
            result.append(None)
        except Refused as e:
            result.append(e)
        except Exception as e:  # as above
            result.append(Refused('%s: %s' % (type(e).__name__, e), 'no_connection'))

    thread = threading.Thread(target=work)
    thread.daemon = True
    thread.start()
    thread.join(float(frame.get('connect_ms') or 15000) / 1000)
    if not result:
        check('login', False, 'it hangs while %s' % terminal.stage, 'restart the terminal and log in')
        return
    error = result[0]
    connected = error is None or error.code in ('no_account', 'not_ready')
    check('login', connected, 'the terminal takes the connection as session %s' % terminal.session if connected
          else str(error), 'log in to the terminal; see the causes above, in their order')
    if connected:
        check('account', error is None, 'the account is there and ready' if error is None else str(error),
              'check `account_id` and `account_type`, and that this account is logged in')


# ---------------------------------------------------------------- ends

def binary_streams():
    """Our streams, out of reach of whatever prints: what is printed to standard output goes to standard error."""
    if os.name == 'nt':
        import msvcrt
        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(1, os.O_BINARY)
    out = os.dup(1)
    if os.name == 'nt':
        import msvcrt
        msvcrt.setmode(out, os.O_BINARY)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    inp = os.dup(0)
    if os.name == 'nt':
        import msvcrt
        msvcrt.setmode(inp, os.O_BINARY)
    # A library that reads standard input finds it at its end.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return io.open(inp, 'rb', buffering=65536), io.open(out, 'wb', buffering=0)


def write_all(stream):
    def write(data):
        view = memoryview(data)
        while len(view):
            view = view[stream.write(view):]
    return write


def leave(code):
    """Ends this process whatever the terminal's library does. On Windows even `os._exit` asks each library to let go, after its
    threads are gone, and one that waits for them would hang with the record of orders in its hands."""
    if os.name == 'nt':
        import ctypes
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.TerminateProcess.argtypes = (ctypes.c_void_p, ctypes.c_uint)
        kernel.TerminateProcess(kernel.GetCurrentProcess(), code)
    os._exit(code)


def serve_stdio():
    read, out = binary_streams()
    sys.dont_write_bytecode = True
    # Short turns: an answer waits for the thread that has the interpreter.
    sys.setswitchinterval(0.0005)
    Bridge(read, write_all(out), leave).run()


class Wire(object):
    """A socket that one thread reads and another writes. Python's TLS socket is not made for two threads at once, so both wait
    without its lock and read and write only under it."""

    def __init__(self, line):
        self.line = line
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.buffer = b''
        # Whether it has shown the token, or is over.
        self.is_known = False
        line.setblocking(False)
        self.is_tls = hasattr(line, 'pending')
        self.want_read = self.want_write = ()
        if self.is_tls:
            import ssl
            self.want_read, self.want_write = ssl.SSLWantReadError, ssl.SSLWantWriteError

    def once(self, what, *arguments):
        """What reading or writing comes to, or for what it must wait: (result, None) or (None, 'read' or 'write')."""
        with self.lock:
            try:
                return what(*arguments), None
            except self.want_read:
                return None, 'read'
            except self.want_write:
                return None, 'write'
            except BlockingIOError:
                return None, 'read' if what == self.line.recv else 'write'

    def wait(self, what, until):
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise OSError('it has waited too long for the other end')
        ready = select.select([self.line] if what == 'read' else [], [self.line] if what == 'write' else [], [], left)
        if not any(ready):
            raise OSError('it has waited too long for the other end')

    def handshake(self, until):
        if self.is_tls:
            self.persist(until, self.line.do_handshake)

    def persist(self, until, what, *arguments):
        while True:
            result, wanted = self.once(what, *arguments)
            if wanted is None:
                return result
            self.wait(wanted, until)

    def read(self, size, until=None):
        """So many bytes, or fewer at the end."""
        while len(self.buffer) < size:
            more = self.persist(until, self.line.recv, 65536)
            if not more:
                break
            self.buffer += more
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def sendall(self, data, until=None):
        view = memoryview(data)
        with self.writing:
            while len(view):
                view = view[self.persist(until, self.line.send, view):]

    def drop(self):
        """Ends it; whoever reads it sees its end, and closes it."""
        try:
            self.line.shutdown(socket.SHUT_RDWR)
        except (IOError, OSError):
            pass

    def close(self):
        self.drop()
        self.line.close()


class Until(object):
    """A wire that is read up to a time."""

    def __init__(self, wire, until):
        self.wire, self.until = wire, until

    def read(self, size):
        return self.wire.read(size, self.until)


class Relayed(object):
    """A bridge of its own behind a relay: a child, and the line that it speaks to."""

    # A child may be slow to start, and wait for a record that another one still holds.
    STARTS_WITHIN = 60

    def __init__(self, settings):
        arguments = [sys.executable, '-B', os.path.abspath(__file__), '--stdio']
        self.child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # The line that stands, and the number of its mark: read as one, without a lock, for writing may block.
        self.to = (None, 0)
        # The mark that the child has spoken last; 0 before its first word.
        self.heard = 0
        # A child answers behind a call of the terminal's library.
        self.answers_within = float(settings.get('hang_after_ms') or 10000) / 1000 + 5
        self.timer = None
        self.begun = time.monotonic()
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.send(None, pack(dict(settings, op='config')))
        reader = threading.Thread(target=self.from_child)
        reader.daemon = True
        reader.start()

    def is_alive(self):
        return self.child.poll() is None

    def send(self, wire, data):
        """Passes on what came over the line that stands. What an older one still holds is for the host's end of that one: its
        limits are no longer in force."""
        with self.writing:
            if self.to[0] is wire:
                self.child.stdin.write(data)
                self.child.stdin.flush()

    def restart(self, wire):
        """The other end has found that the child hangs. One that has said nothing yet may just be starting: it is watched."""
        if self.to[0] is wire and self.heard:
            self.child.kill()

    def stop_timer(self):
        if self.timer is not None:
            self.timer.cancel()

    def watch(self, mark):
        """One that does not even take note of a new line hangs, and would keep out every host."""
        if self.to[1] == mark and self.heard != mark and self.is_alive():
            complain('the bridge\'s child does not answer; it is ended')
            self.child.kill()

    def take(self, wire):
        """From here on it speaks to this line. What it still says to the one before ends with its own mark."""
        with self.lock:
            before, mark = self.to[0], self.to[1] + 1
            self.to = (wire, mark)
            self.stop_timer()
            # A full pipe would hold this up for ever, and whoever writes for the line before: the child's end frees them.
            # A start is counted from its beginning, however many lines come meanwhile.
            starts_in = self.begun + self.STARTS_WITHIN - time.monotonic()
            within = self.answers_within if self.heard else max(0, starts_in)
            self.timer = threading.Timer(within, self.watch, (mark,))
            self.timer.daemon = True
            self.timer.start()
        with self.writing:
            self.child.stdin.write(pack({'op': 'detach', 'line': mark}))
            self.child.stdin.flush()
        if before is not None:
            before.drop()

    def leave(self, wire):
        """The line is gone, unless another one has come meanwhile."""
        with self.lock:
            if self.to[0] is not wire:
                return
            self.to = (None, self.to[1])
        try:
            self.send(None, pack({'op': 'detach'}))
        except (IOError, OSError, ValueError):
            pass

    def from_child(self):
        """Passes on what the child says; its end is the end of the line."""
        try:
            while True:
                body = read_raw(self.child.stdout)
                if body is None:
                    break
                wire, mark = self.to
                if self.heard != mark:
                    self.heard = parse(body).get('line', self.heard)
                    if self.heard == mark:
                        with self.lock:
                            if self.to[1] == mark:
                                self.stop_timer()
                    continue
                if wire is None:
                    continue
                try:
                    wire.sendall(struct.pack('>I', len(body)) + body)
                except (IOError, OSError, ValueError):
                    wire.drop()
        except Broken as e:
            complain('the child\'s stream is broken: %s' % e)
        self.child.kill()
        self.child.wait()
        complain('the bridge\'s child has ended (%s)' % self.child.returncode)
        with self.lock:
            self.stop_timer()
        # Whoever writes to it fails now, and lets go.
        with self.writing:
            for stream in (self.child.stdin, self.child.stdout):
                try:
                    stream.close()
                except (IOError, OSError, ValueError):
                    pass
        wire = self.to[0]
        if wire is not None:
            wire.drop()

    def end(self):
        self.child.kill()
        self.child.wait()


class Relay(object):
    """`--listen`: takes one host at a time over TLS and keeps the real bridge as a child, which outlives a lost line. It is
    started again for the next host when it has ended, as it does when the terminal is lost. Who only examines gets a child of
    its own, and takes nothing from the host that trades."""

    def __init__(self, settings, token):
        self.settings, self.token = settings, token
        self.bridge = None
        self.lock = threading.Lock()
        self.examined = threading.Lock()

    def serve(self, wire, address):
        """One host, from its token to its end."""
        until = time.monotonic() + 10
        body = read_raw(Until(wire, until))
        frame = parse(body) if body else {}
        token, purpose = frame.get('token'), frame.get('for') or 'trade'

        def refuse(why):
            wire.sendall(pack({'re': frame.get('id'), 'ok': False, 'code': 'setup', 'error': why}), until)

        if frame.get('op') != 'auth' or not isinstance(token, str) or not hmac.compare_digest(
                token.encode('utf-8'), self.token):
            complain('%s:%s gave a wrong token' % address[:2])
            time.sleep(1)
            return refuse('the token is wrong')
        if purpose not in ('trade', 'doctor'):
            return refuse('this bridge knows no purpose %r of a line; take both ends from one release' % (purpose,))
        wire.is_known = True
        answer = pack({'re': frame.get('id'), 'ok': True})
        if purpose == 'trade':
            with self.lock:
                if self.bridge is None or not self.bridge.is_alive():
                    self.bridge = Relayed(self.settings)
                bridge = self.bridge
                # Before its child can say anything to this line.
                wire.sendall(answer, until)
                bridge.take(wire)
            complain('%s:%s is connected' % address[:2])
            self.pass_on(wire, bridge, address)
            bridge.leave(wire)
        elif self.examined.acquire(False):
            bridge = None
            try:
                bridge = Relayed(dict(self.settings, read_only=True))
                wire.sendall(answer, until)
                bridge.take(wire)
                complain('%s:%s examines' % address[:2])
                self.pass_on(wire, bridge, address)
            finally:
                if bridge is not None:
                    bridge.end()
                self.examined.release()
        else:
            refuse('another examination is under way; try again in a minute')

    def pass_on(self, wire, bridge, address):
        try:
            while True:
                body = read_raw(wire)
                if body is None:
                    return
                op = parse(body).get('op')
                if op == 'restart':
                    return bridge.restart(wire)
                # Its configuration and its lines are this side's alone.
                if op not in ('config', 'detach'):
                    bridge.send(wire, struct.pack('>I', len(body)) + body)
        except (Broken, IOError, OSError, ValueError) as e:
            complain('%s:%s is lost: %s' % (address[0], address[1], e))


LISTEN_HELP = """usage: bridge.py --listen HOST:PORT --config FILE

Serves one quantTrader host at a time, on the machine where the XtQuant terminal runs.

FILE is JSON:
  {
    "account_id": "55000001",
    "session_path": "C:\\\\QMT\\\\userdata_mini",
    "token_file": "token.txt",          the same text as in the host's `token_file`
    "certificate": "bridge.pem",        what the host pins; needed unless HOST is the loopback address
    "key": "bridge.key",
    "data_dir": "data",                 the record of orders; keep it
    "account_type": "STOCK",            or CREDIT
    "xtquant": "C:\\\\QMT\\\\bin.x64\\\\Lib\\\\site-packages",
    "caps": { "max_order_value": 50000, "max_order_shares": 10000, "max_orders_a_day": 100, "symbols": ["600000.SH"] },
    "read_only": false, "dry_run": false
  }
A certificate, once:
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=miniqmt -keyout bridge.key -out bridge.pem
"""
LISTEN_KEYS = {'account_id', 'session_path', 'xt_path', 'token_file', 'certificate', 'key', 'data_dir', 'account_type',
               'xtquant', 'caps', 'read_only', 'dry_run', 'session_ids', 'hang_after_ms', 'silent_after_ms', 'visible_ms'}
LISTEN_TEXTS = ('account_id', 'session_path', 'xt_path', 'token_file', 'certificate', 'key', 'data_dir', 'account_type',
                'xtquant')
LOOPBACK = ('127.0.0.1', '::1', 'localhost')


class Usage(Exception):
    """What the person who started this must mend."""


def checked_settings(given):
    """The whole file; ValueError says what is wrong. What is mistaken is never left out: it may be a cap."""
    if not isinstance(given, dict):
        raise ValueError('it holds no object')
    unknown = sorted(set(given) - LISTEN_KEYS)
    if unknown:
        raise ValueError('unknown key `%s`; known are %s' % (unknown[0], ', '.join(sorted(LISTEN_KEYS))))
    for key in LISTEN_TEXTS:
        value = given.get(key)
        if value is not None and not isinstance(value, str):
            raise ValueError('`%s` is %s; give text, in quotes' % (key, 'no text' if key == 'account_id' else repr(value)))
    for key in ('account_id', 'token_file'):
        if not (given.get(key) or '').strip():
            raise ValueError('`%s` is missing' % key)
    if given.get('account_type') not in (None, 'STOCK', 'CREDIT'):
        raise ValueError('`account_type` is %r; give STOCK or CREDIT' % given['account_type'])
    if given.get('session_path') and given.get('xt_path') and given['session_path'] != given['xt_path']:
        raise ValueError('`session_path` and `xt_path` are two names of one key and differ; keep one of them')
    span = given.get('session_ids')
    if span is not None and not (isinstance(span, list) and len(span) == 2 and all(type(n) is int for n in span)
                                 and 0 < span[0] <= span[1] <= 999999999):
        raise ValueError('`session_ids` is %r; give a first and a last id from 1 to 999999999' % (span,))
    for key in ('hang_after_ms', 'silent_after_ms', 'visible_ms'):
        value = given.get(key)
        if value is not None and not (type(value) is int and 0 < value <= 86400000):
            raise ValueError('`%s` is %r; give milliseconds from 1 to 86400000' % (key, value))
    return dict(given, **checked_limits(given))


def listen_settings(path):
    try:
        with io.open(path, encoding='utf-8-sig') as file:
            given = json.load(file)
    except (IOError, OSError, ValueError) as e:
        raise Usage('%s cannot be read: %s' % (path, e))
    try:
        given = checked_settings(given)
    except ValueError as e:
        raise Usage('%s: %s' % (path, e))
    base = os.path.dirname(os.path.abspath(path))
    for key in ('token_file', 'certificate', 'key', 'data_dir'):
        if given.get(key):
            given[key] = os.path.join(base, given[key])
    return given


def read_token(path):
    try:
        with io.open(path, encoding='utf-8-sig') as file:
            token = file.read().strip()
    except (IOError, OSError, ValueError) as e:
        raise Usage('the token file %s cannot be read: %s' % (path, e))
    if len(token) < 16:
        raise Usage('the token in %s has fewer than 16 characters' % path)
    return token.encode('utf-8')


def listen(arguments):
    options = dict(zip(arguments[0::2], arguments[1::2]))
    if set(options) != {'--listen', '--config'} or len(arguments) != 4:
        raise Usage('give --listen HOST:PORT and --config FILE')
    host, _, port = options['--listen'].rpartition(':')
    host = host.strip('[]')
    if not host or not port.isdigit():
        raise Usage('%s is no HOST:PORT' % options['--listen'])
    given = listen_settings(options['--config'])
    token = read_token(given['token_file'])
    data_dir = given.get('data_dir') or os.path.join(os.path.dirname(os.path.abspath(options['--config'])), 'data')
    settings = {
        'account': given['account_id'].strip(), 'path': given.get('session_path') or given.get('xt_path'),
        'account_type': given.get('account_type') or 'STOCK', 'xtquant': given.get('xtquant'),
        'record': os.path.join(data_dir, 'orders'), 'sessions': os.path.join(data_dir, 'sessions'),
        'session_ids': given.get('session_ids'), 'caps': given.get('caps'), 'read_only': given.get('read_only'),
        'dry_run': given.get('dry_run'), 'hang_after_ms': given.get('hang_after_ms'),
        'silent_after_ms': given.get('silent_after_ms'), 'visible_ms': given.get('visible_ms'),
    }
    context = None
    if given.get('certificate'):
        import ssl
        if hasattr(ssl, 'TLSVersion'):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS)
            context.options |= ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
        try:
            context.load_cert_chain(given['certificate'], given.get('key') or None)
        except (IOError, OSError, ValueError) as e:
            raise Usage('the certificate %s cannot be used: %s' % (given['certificate'], e))
    elif host not in LOOPBACK:
        raise Usage('%s can be reached from other machines, and orders never travel in the clear: give `certificate` '
                    'and `key`, or listen on 127.0.0.1' % host)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    if os.name != 'nt':
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, int(port)))
    server.listen(4)
    complain('listening on %s:%d%s' % (host, server.getsockname()[1], '' if context else ' (in the clear)'))
    Door(Relay(settings, token), context).stand(server)


class Door(object):
    """Lets lines in, and no more that have not shown their token than it takes."""

    STRANGERS = 16

    def __init__(self, relay, context):
        self.relay, self.context = relay, context
        self.strangers = collections.deque()
        self.lock = threading.Lock()

    def stand(self, server):
        while True:
            try:
                line, address = server.accept()
            except (IOError, OSError) as e:
                # No handle is free, or who came has gone: the host that trades is served on.
                complain('a line could not be taken: %s' % e)
                time.sleep(0.2)
                continue
            try:
                worker = threading.Thread(target=self.admit, args=(line, address))
                worker.daemon = True
                worker.start()
            except RuntimeError as e:
                complain('a line could not be served: %s' % e)
                line.close()

    def admit(self, line, address):
        try:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self.context is not None:
                line = self.context.wrap_socket(line, server_side=True, do_handshake_on_connect=False)
        except (IOError, OSError, ValueError) as e:
            complain('%s:%s: %s' % (address[0], address[1], e))
            return line.close()
        wire = Wire(line)
        with self.lock:
            self.strangers = collections.deque(other for other in self.strangers if not other.is_known)
            self.strangers.append(wire)
            if len(self.strangers) > self.STRANGERS:
                self.strangers.popleft().drop()
        try:
            wire.handshake(time.monotonic() + 10)
            self.relay.serve(wire, address)
        except (Broken, IOError, OSError, ValueError) as e:
            complain('%s:%s: %s' % (address[0], address[1], e))
        finally:
            wire.is_known = True
            wire.close()


def main(arguments):
    if sys.version_info < (3, 6):
        complain('this bridge needs Python 3.6 or later, and this is %s' % platform.python_version())
        return 2
    if arguments == ['--stdio']:
        serve_stdio()
        return 0
    if arguments == ['--probe']:
        # Which interpreter this is, for whoever looks for one.
        import importlib.util
        out = {'python': platform.python_version(), 'bits': struct.calcsize('P') * 8, 'bridge': BRIDGE,
               'xtquant': importlib.util.find_spec('xtquant') is not None}
        sys.stdout.write(json.dumps(out) + '\n')
        return 0
    if not arguments or arguments[0] in ('-h', '--help'):
        sys.stdout.write(LISTEN_HELP)
        return 0 if arguments else 2
    try:
        listen(arguments)
    except Usage as e:
        complain('%s; see --help' % e)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
