//! Decimals in files: a text where people read, and in packed bytes the unscaled number and its
//! scale, since packed bytes do not say themselves what they are.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A decimal in either form.
struct Form(Decimal);

impl Serialize for Form {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Serialize::serialize(&self.0, serializer)
        } else {
            (self.0.mantissa(), self.0.scale()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return <Decimal as Deserialize>::deserialize(deserializer).map(Self);
        }
        let (unscaled, scale) = <(i128, u32)>::deserialize(deserializer)?;
        Decimal::try_from_i128_with_scale(unscaled, scale)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

pub(crate) fn serialize<S: Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    Form(*value).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    Form::deserialize(deserializer).map(|form| form.0)
}

/// The same for a figure that may be absent.
pub(crate) mod option {
    use super::{Decimal, Deserialize, Deserializer, Form, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Decimal>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Form).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Decimal>, D::Error> {
        Option::<Form>::deserialize(deserializer).map(|form| form.map(|form| form.0))
    }
}
