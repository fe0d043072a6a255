//! `plugin.doctor/1`: looks at what the plugin needs, without an open broker, and says what to do.

use std::ffi::c_void;
use std::path::PathBuf;

use abi_stable::{
    StableAbi,
    std_types::{ROption, RStr, RString},
};
use serde_json::Value;

use super::{Interface, offer};
use crate::{broker::Broker, glue, v1::codes::call, v1::values::RRows};

/// Name of [`DoctorV1`].
pub const NAME: &str = "plugin.doctor/1";

/// How a finding is meant, as it crosses the boundary.
pub mod verdict {
    /// As it should be.
    pub const GOOD: u8 = 1;
    /// In the way of trading.
    pub const BAD: u8 = 2;
    /// It cannot be told here.
    pub const UNCLEAR: u8 = 3;
}

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Good,
    /// In the way of trading.
    Bad,
    /// It cannot be told here.
    Unclear,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// What was seen. No secret belongs in here.
    pub saw: String,
    /// What the user must do; empty where there is nothing to do.
    pub todo: String,
}

impl Finding {
    /// Something that is as it should be.
    #[must_use]
    pub fn good(name: &str, saw: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            health: Health::Good,
            saw: saw.into(),
            todo: String::new(),
        }
    }

    /// Something in the way of trading, and what to do about it.
    #[must_use]
    pub fn bad(name: &str, saw: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            health: Health::Bad,
            saw: saw.into(),
            todo: todo.into(),
        }
    }
}

/// What a doctor may look at.
#[non_exhaustive]
pub struct DoctorContext {
    /// The plugin's own block of the configuration; an empty object where the user gave none.
    pub config: Value,
    /// The folder that a broker of this plugin may write to; it exists. A broker may be open in it at the same time.
    pub data_dir: PathBuf,
    /// The broker's number of the account, where one is configured. It is a secret.
    pub account_id: Option<String>,
    /// The host's clock, in milliseconds since 1970 UTC.
    pub now_ms: i64,
}

/// For a plugin that can say what is wrong with a set-up. Announce it by `interfaces: [doctor]` in
/// [`export_broker!`](crate::export_broker). `qt-host doctor` asks it.
pub trait Doctor: Broker {
    /// Looks at everything that trading needs, in the order in which a user would mend it. It places no order and
    /// disturbs no broker that is open.
    fn examine(cx: DoctorContext) -> Vec<Finding>;
}

/// [`Finding`] as it crosses the boundary.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("plugin.doctor/1 finding: 1=good 2=bad 3=unclear"))]
pub struct RFinding {
    /// What was looked at.
    pub name: RString,
    /// A code of [`verdict`].
    pub verdict: u8,
    /// What was seen.
    pub saw: RString,
    /// What to do.
    pub todo: RString,
}

/// [`DoctorContext`] as it crosses the boundary, lent for the length of the call.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("plugin.doctor/1 context: unix ms"))]
pub struct RDoctorContext<'a> {
    /// The plugin's own configuration block, as JSON text.
    pub config: RStr<'a>,
    /// A folder that the plugin may write to.
    pub data_dir: RStr<'a>,
    /// The broker's number of the account, where one is configured.
    pub account_id: ROption<RStr<'a>>,
    /// The host's clock.
    pub now_ms: i64,
    /// JSON text, or empty.
    pub extras: RStr<'a>,
}

/// The table. It is asked of the module; the first argument is null.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("plugin.doctor/1"))]
pub struct DoctorV1 {
    /// Looks at everything that trading needs.
    pub examine: unsafe extern "C" fn(nobody: *const c_void, context: &RDoctorContext<'_>) -> RRows<RFinding>,
}

/// For the macro alone.
#[doc(hidden)]
#[must_use]
pub fn interface<B: Doctor>() -> Interface {
    Interface(offer(Producer::<B>::TABLE))
}

struct Producer<B>(std::marker::PhantomData<B>);

impl<B: Doctor> Producer<B> {
    const TABLE: &'static DoctorV1 = &DoctorV1 {
        examine: Self::examine,
    };

    unsafe extern "C" fn examine(_nobody: *const c_void, context: &RDoctorContext<'_>) -> RRows<RFinding> {
        let found = glue::guard(|| {
            let config = serde_json::from_str(context.config.as_str());
            let config = config.map_err(|e| format!("the plugin's configuration block is not JSON: {e}"))?;
            let found = B::examine(DoctorContext {
                config,
                data_dir: PathBuf::from(context.data_dir.as_str()),
                account_id: context
                    .account_id
                    .as_ref()
                    .into_option()
                    .map(|id| id.as_str().to_owned()),
                now_ms: context.now_ms,
            });
            Ok(found.into_iter().map(finding_out).collect::<Vec<RFinding>>())
        });
        let error = match found {
            Ok(Ok(rows)) => {
                return RRows {
                    code: call::OK,
                    rows: rows.into(),
                    error: RString::new(),
                };
            }
            Ok(Err(reason)) | Err(reason) => reason,
        };
        RRows {
            code: call::FAILED,
            rows: Vec::new().into(),
            error: error.into(),
        }
    }
}

fn finding_out(finding: Finding) -> RFinding {
    RFinding {
        name: finding.name.into(),
        verdict: match finding.health {
            Health::Good => verdict::GOOD,
            Health::Bad => verdict::BAD,
            Health::Unclear => verdict::UNCLEAR,
        },
        saw: finding.saw.into(),
        todo: finding.todo.into(),
    }
}

#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn finding_in(finding: RFinding) -> Result<Finding, String> {
    Ok(Finding {
        name: finding.name.into_string(),
        health: match finding.verdict {
            verdict::GOOD => Health::Good,
            verdict::BAD => Health::Bad,
            verdict::UNCLEAR => Health::Unclear,
            other => return Err(format!("the verdict {other}, which plugin.doctor/1 lacks")),
        },
        saw: finding.saw.into_string(),
        todo: finding.todo.into_string(),
    })
}
