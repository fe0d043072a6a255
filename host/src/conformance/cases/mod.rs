//! The cases, in order of their numbers. A number keeps its meaning for ever; a new case takes one in a gap.

mod cancels;
mod events;
mod identity;
mod lists;
mod money;
mod opening;
mod process;
mod strain;

use super::{Case, Needs};

const READS: &[&str] = &["orders", "trades"];
const PLACES: &[&str] = &["place", "orders"];
const FILLS: &[&str] = &["place", "orders", "trades"];
const CANCELS: &[&str] = &["place", "cancel", "orders"];
const RACES: &[&str] = &["place", "cancel", "orders", "trades"];
const TELLS: &[&str] = &["place", "orders", "trades", "events"];

/// Every case.
pub(crate) const CASES: &[Case] = &[
    Case {
        id: "QT-C010",
        title: "opens with its configuration",
        matters: "A plugin that cannot open cannot close a position either.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: opening::opens,
    },
    Case {
        id: "QT-C020",
        title: "refuses a mistake in its configuration, in words",
        matters: "A misspelt limit that is passed over is a limit that does not hold.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: opening::mistakes,
    },
    Case {
        id: "QT-C030",
        title: "shows one account whose balances can be",
        matters: "Orders are sized by the cash that may be used: cash that is not there is spent.",
        capabilities: &["account"],
        needs: Needs::Nothing,
        run: money::account,
    },
    Case {
        id: "QT-C040",
        title: "shows each holding once, and never more to sell than is held",
        matters: "Exits are sized by the shares that may be sold: an order for more is refused when it counts.",
        capabilities: &["positions"],
        needs: Needs::Nothing,
        run: money::positions,
    },
    Case {
        id: "QT-C045",
        title: "keeps what was bought today from today's sale (T+1)",
        matters: "What was bought today cannot be sold today; an exit planned on it fails when it is needed.",
        capabilities: &["place", "orders", "positions"],
        needs: Needs::Orders,
        run: money::bought_today,
    },
    Case {
        id: "QT-C047",
        title: "prices the symbols that it is asked for, and none at zero",
        matters: "A holding is worth what its price says: another symbol's price, or a zero, is a wrong number in every report.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: money::quotes,
    },
    Case {
        id: "QT-C050",
        title: "shows the day's orders and trades whole, or says that it cannot",
        matters: "Half a list reads as orders that never were: they would be placed again.",
        capabilities: READS,
        needs: Needs::Nothing,
        run: lists::whole,
    },
    Case {
        id: "QT-C060",
        title: "gives every trade an id of its own",
        matters: "Fills are summed over their ids: two trades under one id count once, and the position is wrong.",
        capabilities: READS,
        needs: Needs::Nothing,
        run: lists::trade_ids,
    },
    Case {
        id: "QT-C065",
        title: "tells the trades since a point without leaving one out",
        matters: "A trade that no page tells is a fill that nobody counts.",
        capabilities: FILLS,
        needs: Needs::Nothing,
        run: lists::since,
    },
    Case {
        id: "QT-C070",
        title: "never takes a fill back",
        matters: "A fill that disappears makes the rest of an order look open, and it would be bought again.",
        capabilities: FILLS,
        needs: Needs::Orders,
        run: lists::monotone,
    },
    Case {
        id: "QT-C080",
        title: "carries prices and balances exactly, to the last digit",
        matters: "A price that went through a binary fraction is off the tick: the exchange refuses it, and sums drift.",
        capabilities: PLACES,
        needs: Needs::Orders,
        run: money::exact,
    },
    Case {
        id: "QT-C090",
        title: "gives a reason in words when an order is refused",
        matters: "A refusal without a reason cannot be mended, and is tried again in vain.",
        capabilities: &["place"],
        needs: Needs::Orders,
        run: identity::refusal_in_words,
    },
    Case {
        id: "QT-C100",
        title: "brings the client order id back whole, in every row and event",
        matters: "After a crash orders are found by it and by nothing else: a lost order would be placed twice.",
        capabilities: PLACES,
        needs: Needs::Orders,
        run: identity::comes_back_whole,
    },
    Case {
        id: "QT-C110",
        title: "never calls an order refused that exists",
        matters: "A refused order is placed again: what existed after all is then bought twice.",
        capabilities: PLACES,
        needs: Needs::Orders,
        run: identity::refused_is_not_there,
    },
    Case {
        id: "QT-C120",
        title: "never calls an order accepted that does not exist",
        matters: "An order that is taken for placed is waited for: the trade never happens.",
        capabilities: PLACES,
        needs: Needs::Orders,
        run: identity::accepted_is_there,
    },
    Case {
        id: "QT-C130",
        title: "makes one order of one client order id, however often it comes",
        matters: "After a restart an order may come again: two orders for one decision double the risk.",
        capabilities: PLACES,
        needs: Needs::Orders,
        run: identity::idempotent,
    },
    Case {
        id: "QT-C140",
        title: "cancels a resting order for good",
        matters: "An order that is taken for cancelled and still rests fills later, when nobody expects it.",
        capabilities: CANCELS,
        needs: Needs::Orders,
        run: cancels::resting,
    },
    Case {
        id: "QT-C145",
        title: "tells the truth when a cancel and a fill race",
        matters: "A fill that is shown as cancelled is a holding that nobody knows of.",
        capabilities: RACES,
        needs: Needs::Orders,
        run: cancels::race,
    },
    Case {
        id: "QT-C150",
        title: "tells of every trade once",
        matters: "A trade that is told twice costs a comparison with the lists at best, and counts double at worst.",
        capabilities: TELLS,
        needs: Needs::Orders,
        run: events::once,
    },
    Case {
        id: "QT-C160",
        title: "numbers its events without a gap and tells them in their order",
        matters: "An order that is told as finished and then as open is waited for and reported wrongly.",
        capabilities: TELLS,
        needs: Needs::Orders,
        run: events::in_order,
    },
    Case {
        id: "QT-C170",
        title: "tells of all that the lists show",
        matters: "A fill of which no event tells is known only at the next comparison: protection comes late.",
        capabilities: TELLS,
        needs: Needs::Orders,
        run: events::all,
    },
    Case {
        id: "QT-C180",
        title: "takes no order after the time that it is good for",
        matters: "An order that waited too long meets another market than the one it was meant for.",
        capabilities: &["place"],
        needs: Needs::Orders,
        run: identity::too_late,
    },
    Case {
        id: "QT-C190",
        title: "closes twice and is dropped without a fault",
        matters: "A plugin that does not close holds its session at the broker, and the next start is refused.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::closes,
    },
    Case {
        id: "QT-C200",
        title: "answers every call after the close with an error or a definite no",
        matters: "An order that is taken after the close is one that nobody follows.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::after_close,
    },
    Case {
        id: "QT-C210",
        title: "never panics, whatever it is asked",
        matters: "After a panic an order's outcome is unknown, and trading stops until the books are compared.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::panics,
    },
    Case {
        id: "QT-C220",
        title: "leaves its process alive",
        matters: "A plugin that ends the process takes every order that is under way with it into the unknown.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::survives,
    },
    Case {
        id: "QT-C230",
        title: "answers every call within the deadline",
        matters: "A call that hangs keeps every later order back; its own outcome becomes unknown.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::deadline,
    },
    Case {
        id: "QT-C240",
        title: "writes to its own folder alone",
        matters: "Files elsewhere are shared by two accounts, or readable by others: orders and secrets mix or leak.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::own_folder,
    },
    Case {
        id: "QT-C250",
        title: "writes nothing to standard output",
        matters: "Standard output belongs to the host's answers: noise in it breaks whoever reads orders from it.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::quiet,
    },
    Case {
        id: "QT-C260",
        title: "keeps the account number out of logs and messages",
        matters: "Logs are sent around; with the account number in them, so is the way to the money.",
        capabilities: &[],
        needs: Needs::Nothing,
        run: process::secret,
    },
    Case {
        id: "QT-C270",
        title: "takes thousands of orders without growing beyond bounds",
        matters: "A plugin that leaks ends on the busiest day, in the middle of it.",
        capabilities: PLACES,
        needs: Needs::Paper,
        run: strain::growth,
    },
];
