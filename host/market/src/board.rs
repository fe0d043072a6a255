//! The board of a symbol: most rules differ by it.

use serde::{Deserialize, Serialize};

use crate::Market;
use crate::symbol::Symbol;

/// Where and as what a symbol is traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Board {
    /// Main boards of Shanghai and Shenzhen.
    Main,
    /// ChiNext, Shenzhen's growth board.
    #[serde(rename = "chinext")]
    ChiNext,
    /// STAR, Shanghai's science and technology board.
    Star,
    /// Beijing Stock Exchange.
    Bse,
    /// Exchange-traded funds, LOFs and REITs.
    Fund,
    /// Convertible bonds.
    ConvertibleBond,
    /// B shares, in dollars (Shanghai) or Hong Kong dollars (Shenzhen).
    BShare,
    /// None that is known here: its rules are the broker's to judge.
    Unknown,
}

impl Board {
    /// The board that a symbol's digits and exchange name.
    #[must_use]
    pub fn of(symbol: &Symbol) -> Self {
        Market::builtin().board(symbol)
    }

    /// True for shares in yuan: they pay stamp duty and transfer fee.
    #[must_use]
    pub const fn is_a_share(self) -> bool {
        matches!(self, Self::Main | Self::ChiNext | Self::Star | Self::Bse)
    }
}

impl Symbol {
    /// The board it is traded on.
    #[must_use]
    pub fn board(&self) -> Board {
        Board::of(self)
    }
}

impl Market {
    /// The board that a symbol's digits and exchange name.
    #[must_use]
    pub fn board(&self, symbol: &Symbol) -> Board {
        self.board_of(symbol.exchange(), symbol.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_exchange_name_the_board() {
        for (text, board) in [
            ("600519.SH", Board::Main),
            ("601318.SH", Board::Main),
            ("603259.SH", Board::Main),
            ("605117.SH", Board::Main),
            ("000858.SZ", Board::Main),
            ("001979.SZ", Board::Main),
            ("002050.SZ", Board::Main),
            ("003816.SZ", Board::Main),
            ("300750.SZ", Board::ChiNext),
            ("301236.SZ", Board::ChiNext),
            ("302132.SZ", Board::ChiNext),
            ("688981.SH", Board::Star),
            ("689009.SH", Board::Star),
            ("920002.BJ", Board::Bse),
            ("430047.BJ", Board::Bse),
            ("510300.SH", Board::Fund),
            ("588000.SH", Board::Fund),
            ("159915.SZ", Board::Fund),
            ("161725.SZ", Board::Fund),
            ("113050.SH", Board::ConvertibleBond),
            ("118025.SH", Board::ConvertibleBond),
            ("123107.SZ", Board::ConvertibleBond),
            ("128136.SZ", Board::ConvertibleBond),
            ("900948.SH", Board::BShare),
            ("200596.SZ", Board::BShare),
            // The same digits mean an index in Shanghai.
            ("000001.SH", Board::Unknown),
            ("600519.SZ", Board::Unknown),
            ("204001.SH", Board::Unknown),
            ("920002.SZ", Board::Unknown),
        ] {
            assert_eq!(Board::of(&text.parse().unwrap()), board, "{text}");
        }
    }
}
