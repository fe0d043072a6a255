//! `broker.depth/1`: an interface of tomorrow.

use std::ffi::c_void;

use abi_stable::{StableAbi, std_types::RStr};

use super::{Interface, offer};
use crate::{broker::Broker, glue::Instance};

/// Name of [`DepthV1`].
pub const NAME: &str = "broker.depth/1";

/// For a broker that knows the depth of the book.
pub trait Depth: Broker {
    /// Levels that it knows.
    fn depth(&self, symbol: &str) -> u64;
}

/// The table.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("broker.depth/1"))]
pub struct DepthV1 {
    /// Levels of a symbol.
    pub depth: unsafe extern "C" fn(broker: *const c_void, symbol: RStr<'_>) -> u64,
}

/// For the macro alone.
#[must_use]
pub fn interface<B: Depth>() -> Interface {
    Interface(offer(Producer::<B>::TABLE))
}

struct Producer<B>(std::marker::PhantomData<B>);

impl<B: Depth> Producer<B> {
    const TABLE: &'static DepthV1 = &DepthV1 { depth: Self::depth };

    unsafe extern "C" fn depth(broker: *const c_void, symbol: RStr<'_>) -> u64 {
        // SAFETY: the host calls with what `open` gave.
        let instance = unsafe { Instance::<B>::borrow(broker) };
        instance.guard(|broker| broker.depth(symbol.as_str())).unwrap_or(0)
    }
}
