//! Only what a known rule covers is traded, where rules are held.

use qt_market::Board;

use super::{Ask, Context, Verdict, deny};

pub(super) fn unknown(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    let board = context.market.board(ask.symbol());
    let symbol = ask.symbol();
    if gates.market_rules && board == Board::Unknown {
        let reason = format!(
            "{symbol} is on no board that the market's tables know, so no rule could be held; a file named by \
             `gates.market_tables` may add its code"
        );
        return deny("UNKNOWN_BOARD", reason);
    }
    if !gates.boards.is_empty() && !gates.boards.contains(&board) {
        return deny(
            "BOARD_NOT_WANTED",
            format!("{symbol} is on {board:?}, which is not among `gates.boards`"),
        );
    }
    None
}
