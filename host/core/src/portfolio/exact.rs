//! Arithmetic that would rather fail than lose a digit that is kept.

use qt_market::Symbol;
use rust_decimal::Decimal;

use super::PortfolioError;

/// Decimal places that every amount is kept to: far below a cent, and few enough that sums of any
/// real book are exact.
pub(super) const PLACES: u32 = 10;

/// One hundred, to turn a fraction into percent.
pub(super) const HUNDRED: Decimal = Decimal::ONE_HUNDRED;

/// A symbol and a figure's name, so that a failure can say where it happened.
#[derive(Clone, Copy)]
pub(super) struct At(pub(super) Symbol, pub(super) &'static str);

impl At {
    fn too_large(self) -> PortfolioError {
        PortfolioError::TooLarge {
            symbol: self.0,
            what: self.1,
        }
    }

    /// `a` × `b` to [`PLACES`].
    pub(super) fn mul(self, a: Decimal, b: Decimal) -> Result<Decimal, PortfolioError> {
        let product = a.checked_mul(b).ok_or_else(|| self.too_large())?;
        // A decimal that is full drops places by itself; below those that are kept that is a loss.
        if !product.is_zero() && product.scale() < PLACES.min(a.scale() + b.scale()) {
            return Err(self.too_large());
        }
        Ok(product.round_dp(PLACES))
    }

    /// `a` + `b`, to the last digit.
    pub(super) fn add(self, a: Decimal, b: Decimal) -> Result<Decimal, PortfolioError> {
        if a.is_zero() {
            return Ok(b);
        }
        if b.is_zero() {
            return Ok(a);
        }
        let sum = a.checked_add(b).ok_or_else(|| self.too_large())?;
        if !sum.is_zero() && sum.scale() < a.scale().max(b.scale()) {
            return Err(self.too_large());
        }
        Ok(sum)
    }

    /// `a` − `b`, to the last digit.
    pub(super) fn sub(self, a: Decimal, b: Decimal) -> Result<Decimal, PortfolioError> {
        self.add(a, -b)
    }

    /// `part` / `whole` in percent, with all the digits a decimal has; `whole` is not zero.
    pub(super) fn percent(self, part: Decimal, whole: Decimal) -> Result<Decimal, PortfolioError> {
        part.checked_mul(HUNDRED)
            .and_then(|part| part.checked_div(whole))
            .ok_or_else(|| self.too_large())
    }

    /// `a` / `b`, with all the digits a decimal has; `b` is not zero.
    pub(super) fn div(self, a: Decimal, b: Decimal) -> Result<Decimal, PortfolioError> {
        a.checked_div(b).ok_or_else(|| self.too_large())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digit_that_would_be_lost_is_an_error() {
        let at = At("600519.SH".parse().unwrap(), "value");
        let third = Decimal::ONE / Decimal::from(3);
        assert_eq!(at.mul(third, Decimal::from(3)).unwrap(), Decimal::ONE);
        assert!(at.mul(third, Decimal::from(i64::MAX) * Decimal::TEN).is_err());
        assert!(at.mul(Decimal::MAX, Decimal::TWO).is_err());
        assert!(at.add(Decimal::MAX, Decimal::ONE).is_err());
        assert!(at.add(Decimal::MAX, Decimal::new(1, 2)).is_err());
        assert_eq!(at.sub(Decimal::MAX, Decimal::MAX).unwrap(), Decimal::ZERO);
        assert!(at.percent(Decimal::MAX, Decimal::ONE).is_err());
        assert_eq!(
            at.div(Decimal::MAX, Decimal::new(1, 2)).unwrap_err().to_string(),
            "600519.SH: value is too large to be worked out: check its quantity and price"
        );
    }
}
