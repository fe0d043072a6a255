//! The producer half: wraps an author's broker into ABI 1. Nothing in here lets a panic through.

use std::{
    any::Any,
    ffi::c_void,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use abi_stable::{
    library::{CheckTypeLayout, LibHeader, RootModuleResult},
    marker_type::ErasedPrefix,
    prefix_type::{PrefixRefTrait, PrefixTypeTrait},
    std_types::{ROption, RResult, RStr, RString, RVec},
};

use crate::{
    broker::{Broker, OpenContext},
    convert,
    services::{self, EventSink},
    v1::{
        ABI,
        broker::{BrokerTable, ROpenContext, ROpened},
        codes::call,
        host::RInterface,
        root::{Root, RootRef},
        values::{
            RAccountRow, RAnswer, RCancelRequest, RConnection, ROrderRequest, ROrderRow, RPositionRow, RRows,
            RTradeRow,
        },
    },
    values::{CallError, CancelResult, ConnectionState, OpenError, PlaceResult},
};

/// What the macro knows of a plugin.
#[doc(hidden)]
pub trait Export: 'static {
    /// The author's broker.
    type Broker: Broker;
    /// The manifest's JSON text.
    const STATEMENT: &'static str;
}

/// How the reason of an answer begins in whose place a panic came.
pub(crate) const PANIC: &str = "panic: ";

/// Runs the author's code and turns a panic into its message.
fn guard<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(describe)
}

fn describe(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => format!("{PANIC}{text}"),
        (None, Some(text)) => format!("{PANIC}{text}"),
        (None, None) => format!("{PANIC}without a message"),
    };
    // A payload may itself panic when it is dropped, and so may what that throws; then it is left alone.
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(second);
    }
    text
}

/// # Safety
/// `broker` must come from [`Glue::open`] of the same `B` and not be freed yet.
unsafe fn borrow<'a, B>(broker: *const c_void) -> &'a B {
    // SAFETY: the caller vouches for the pointer.
    unsafe { &*broker.cast::<B>() }
}

fn rows<P, R>(read: impl FnOnce() -> Result<Vec<P>, CallError>, out: fn(P) -> R) -> RRows<R> {
    let result = guard(|| read().map(|all| all.into_iter().map(out).collect::<Vec<R>>()));
    let error = match result {
        Ok(Ok(all)) => {
            return RRows {
                code: call::OK,
                rows: all.into(),
                error: RString::new(),
            };
        }
        Ok(Err(failed)) => failed.reason,
        Err(panic) => panic,
    };
    RRows {
        code: call::FAILED,
        rows: RVec::new(),
        error: error.into(),
    }
}

/// The functions of ABI 1 for the broker `B`.
pub(crate) struct Glue<B>(PhantomData<B>);

impl<B: Broker> Glue<B> {
    pub(crate) const TABLE: &'static BrokerTable = &BrokerTable {
        place_order: Self::place_order,
        cancel_order: Self::cancel_order,
        orders_today: Self::orders_today,
        trades_today: Self::trades_today,
        positions: Self::positions,
        account: Self::account,
        connection: Self::connection,
        close: Self::close,
        query: Self::query,
        free: Self::free,
    };

    pub(crate) unsafe extern "C" fn open(context: &ROpenContext<'_>) -> ROpened {
        let opened = guard(|| {
            // SAFETY: the host lends live handles for the length of this call.
            let sink = unsafe { EventSink::retained(context.sink) };
            // SAFETY: as above.
            let (log, clock) = unsafe { services::services(context.host) };
            let config = serde_json::from_str(context.config.as_str())
                .map_err(|e| OpenError::new(format!("the plugin's configuration block is not JSON: {e}")))?;
            let data_dir = PathBuf::from(context.data_dir.as_str());
            let account_id = context.account_id.into_option().map(|id| id.as_str().to_owned());
            B::open(OpenContext::new(config, data_dir, account_id, sink, log, clock)).map(Box::new)
        });
        let error = match opened {
            Ok(Ok(broker)) => {
                let broker = Box::into_raw(broker).cast_const().cast();
                return ROpened {
                    code: call::OK,
                    broker,
                    table: Self::TABLE,
                    error: RString::new(),
                };
            }
            Ok(Err(failed)) => failed.reason,
            Err(panic) => panic,
        };
        ROpened {
            code: call::FAILED,
            broker: std::ptr::null(),
            table: Self::TABLE,
            error: error.into(),
        }
    }

    unsafe extern "C" fn place_order(broker: *const c_void, order: &ROrderRequest<'_>) -> RAnswer {
        let result = guard(|| match convert::order_in(order) {
            // SAFETY: the host calls with what `open` gave.
            Ok(order) => convert::place_out(unsafe { borrow::<B>(broker) }.place_order(&order)),
            // The order never reached the author's code, so the refusal is certain.
            Err(reason) => convert::place_out(PlaceResult::Rejected { reason }),
        });
        result.unwrap_or_else(|reason| convert::place_out(PlaceResult::Unknown { reason }))
    }

    unsafe extern "C" fn cancel_order(broker: *const c_void, cancel: &RCancelRequest<'_>) -> RAnswer {
        let result = guard(|| {
            // SAFETY: the host calls with what `open` gave.
            let broker = unsafe { borrow::<B>(broker) };
            convert::cancel_result_out(broker.cancel_order(&convert::cancel_in(cancel)))
        });
        result.unwrap_or_else(|reason| convert::cancel_result_out(CancelResult::Unknown { reason }))
    }

    unsafe extern "C" fn orders_today(broker: *const c_void) -> RRows<ROrderRow> {
        // SAFETY: the host calls with what `open` gave.
        rows(
            || unsafe { borrow::<B>(broker) }.orders_today(),
            convert::order_row_out,
        )
    }

    unsafe extern "C" fn trades_today(broker: *const c_void) -> RRows<RTradeRow> {
        // SAFETY: the host calls with what `open` gave.
        rows(
            || unsafe { borrow::<B>(broker) }.trades_today(),
            convert::trade_out,
        )
    }

    unsafe extern "C" fn positions(broker: *const c_void) -> RRows<RPositionRow> {
        // SAFETY: the host calls with what `open` gave.
        rows(
            || unsafe { borrow::<B>(broker) }.positions(),
            convert::position_out,
        )
    }

    unsafe extern "C" fn account(broker: *const c_void) -> RRows<RAccountRow> {
        // SAFETY: the host calls with what `open` gave.
        rows(
            || unsafe { borrow::<B>(broker) }.account().map(|row| vec![row]),
            convert::account_out,
        )
    }

    unsafe extern "C" fn connection(broker: *const c_void) -> RConnection {
        // SAFETY: the host calls with what `open` gave.
        let state = guard(|| unsafe { borrow::<B>(broker) }.connection());
        convert::connection_out(state.unwrap_or_else(|reason| ConnectionState::Disconnected { reason }))
    }

    unsafe extern "C" fn close(broker: *const c_void) {
        // A broker that panics while closing is freed all the same; there is nobody left to tell.
        // SAFETY: the host calls with what `open` gave.
        let _ = guard(|| unsafe { borrow::<B>(broker) }.close());
    }

    unsafe extern "C" fn query(_broker: *const c_void, _name: RStr<'_>) -> ROption<RInterface> {
        ROption::RNone
    }

    unsafe extern "C" fn free(broker: *const c_void) {
        if broker.is_null() {
            return;
        }
        // A panic in the author's Drop ends here.
        // SAFETY: the host frees once what `open` gave, and uses it no more.
        let _ = guard(|| drop(unsafe { Box::from_raw(broker.cast::<B>().cast_mut()) }));
    }
}

extern "C" fn statement<E: Export>() -> RStr<'static> {
    RStr::from_str(E::STATEMENT)
}

extern "C" fn no_interface(_name: RStr<'_>) -> ROption<RInterface> {
    ROption::RNone
}

extern "C" fn root<E: Export>() -> RootModuleResult {
    let module = Root {
        abi: ABI,
        statement: statement::<E>,
        open: Glue::<E::Broker>::open,
        query: no_interface,
    };
    // The header calls this once and keeps what it gets, so what is leaked is leaked once.
    // SAFETY: `LibHeader::from_constructor::<RootRef>` asks for exactly this cast.
    RResult::ROk(unsafe { module.leak_into_prefix().to_prefix_ref().cast::<ErasedPrefix>() })
}

/// The library header that the macro exports.
#[doc(hidden)]
#[must_use]
pub const fn header<E: Export>() -> LibHeader {
    // SAFETY: `root` gives a reference to the prefix of `RootRef`.
    unsafe { LibHeader::from_constructor::<RootRef>(root::<E>, CheckTypeLayout::Yes) }
}
