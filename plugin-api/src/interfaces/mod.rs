//! What is asked for by name. Each interface is one table, frozen on its own once it is released.
//!
//! Either side may lack any of them: who asks gets nothing then, and does without. A change to an interface is a new
//! interface with the next number beside the old one.

use std::ffi::c_void;

use abi_stable::{StableAbi, abi_stability::abi_checking::check_layout_compatibility};

use crate::v1::host::RInterface;

pub mod doctor;
pub mod host_clock;
pub mod host_config;
pub mod host_log;
pub mod host_metrics;
pub mod host_opening;
pub mod quotes;
pub mod trades;

/// An interface on its way to whoever asked for it. Only this crate can look inside.
#[derive(Clone, Copy)]
pub struct Interface(pub(crate) RInterface);

/// Whether an interface is asked of the module, with no broker open.
pub(crate) fn is_of_module(name: &str) -> bool {
    name == doctor::NAME
}

/// A table with its layout.
pub(crate) fn offer<T: StableAbi>(table: &'static T) -> RInterface {
    RInterface {
        table: std::ptr::from_ref(table).cast::<c_void>(),
        layout: T::LAYOUT,
    }
}

/// Checks a named interface against what this crate knows by that name. One that differs is as good as absent.
///
/// # Safety
/// The table must be what the layout says it is, and live as long as the process.
pub(crate) unsafe fn checked<T: StableAbi>(found: RInterface) -> Option<&'static T> {
    check_layout_compatibility(T::LAYOUT, found.layout).ok()?;
    // SAFETY: the layout fits, and the caller vouches for the table.
    unsafe { found.table.cast::<T>().as_ref() }
}

#[cfg(test)]
mod tests {
    use super::{quotes::QuotesV1, trades::TradesV1, *};

    #[test]
    fn a_table_of_another_layout_is_as_good_as_absent() {
        extern "C" fn never() {}
        let table: &'static usize = Box::leak(Box::new(never as *const () as usize));
        let wrong = RInterface {
            table: std::ptr::from_ref(table).cast(),
            layout: TradesV1::LAYOUT,
        };
        // SAFETY: the layout is refused before the table is touched.
        assert!(unsafe { checked::<QuotesV1>(wrong) }.is_none());
        let empty = RInterface {
            table: std::ptr::null(),
            layout: QuotesV1::LAYOUT,
        };
        // SAFETY: a null table is never read.
        assert!(unsafe { checked::<QuotesV1>(empty) }.is_none());
    }
}
