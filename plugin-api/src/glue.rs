//! The producer half: wraps an author's broker into ABI 1. Nothing in here lets a panic through.

use std::{
    any::Any,
    cell::Cell,
    ffi::c_void,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    interfaces::{self, Interface},
    services::{self, EventSink, HostInner, Services},
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
    values::{CallError, CancelResult, ConnectionState, OpenError, OrderRequest, PlaceResult, Side},
};

/// What the macro knows of a plugin.
#[doc(hidden)]
pub trait Export: 'static {
    /// The author's broker.
    type Broker: Broker;
    /// The manifest's JSON text.
    const STATEMENT: &'static str;

    /// The named interfaces that the broker offers beyond the core.
    #[must_use]
    fn interface(_name: &str) -> Option<Interface> {
        None
    }
}

/// Bytes of a text at most whose memory is kept for the next order.
const MOST_KEPT: usize = 4096;

/// How the reason of an answer begins in whose place a panic came.
pub(crate) const PANIC: &str = "panic: ";

/// Runs the author's code and turns a panic into its message.
pub(crate) fn guard<R>(work: impl FnOnce() -> R) -> Result<R, String> {
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

/// An open broker as it lies behind the pointer that the host holds.
pub(crate) struct Instance<B> {
    broker: B,
    /// Set by the first panic of the author's code and never taken back.
    poisoned: AtomicBool,
    /// Keeps the host's services alive for as long as the broker, even if the author keeps none of them.
    _host: Arc<HostInner>,
}

impl<B: Broker> Instance<B> {
    /// # Safety
    /// `broker` must come from [`Glue::open`] of the same `B` and not be freed yet.
    pub(crate) unsafe fn borrow<'a>(broker: *const c_void) -> &'a Self {
        // SAFETY: the caller vouches for the pointer.
        unsafe { &*broker.cast::<Self>() }
    }

    /// Runs the author's code; a panic poisons the broker and becomes a message.
    pub(crate) fn guard<R>(&self, work: impl FnOnce(&B) -> R) -> Result<R, String> {
        guard(|| work(&self.broker)).inspect_err(|_| self.poisoned.store(true, Ordering::Release))
    }

    /// Runs the author's code for rows: all of them, or an error.
    pub(crate) fn rows<P, R>(
        &self,
        read: impl FnOnce(&B) -> Result<Vec<P>, CallError>,
        out: fn(P) -> R,
    ) -> RRows<R> {
        let result = self.guard(|b| read(b).map(|all| all.into_iter().map(out).collect::<Vec<R>>()));
        let error = match result {
            Ok(Ok(all)) => {
                return RRows {
                    code: call::OK,
                    rows: all.into(),
                    error: RString::new(),
                };
            }
            Ok(Err(CallError { reason })) | Err(reason) => reason,
        };
        RRows {
            code: call::FAILED,
            rows: RVec::new(),
            error: error.into(),
        }
    }
}

thread_local! {
    /// The order that this thread read last: reading the next one into its memory saves more than all else of a call
    /// costs.
    static LAST_ORDER: Cell<Option<Box<OrderRequest>>> = const { Cell::new(None) };
}

/// Memory to read an order into. A call from within a call, or from a thread that is ending, gets its own.
fn take_order() -> Box<OrderRequest> {
    let last = LAST_ORDER.try_with(Cell::take).ok().flatten();
    last.unwrap_or_else(|| Box::new(OrderRequest::new("", "", Side::Buy, 0, None)))
}

fn give_order_back(order: Box<OrderRequest>) {
    if order.extras.capacity() <= MOST_KEPT && order.strategy.capacity() <= MOST_KEPT {
        LAST_ORDER.try_with(|last| last.set(Some(order))).ok();
    }
}

/// The functions of ABI 1 for what `E` exports.
pub(crate) struct Glue<E>(PhantomData<E>);

impl<E: Export> Glue<E> {
    pub(crate) const TABLE: &'static BrokerTable = &BrokerTable {
        place_order: Self::place_order,
        cancel_order: Self::cancel_order,
        orders_today: Self::orders_today,
        trades_today: Self::trades_today,
        positions: Self::positions,
        account: Self::account,
        connection: Self::connection,
        close: Self::close,
        poisoned: Self::poisoned,
        query: Self::query,
        free: Self::free,
    };

    pub(crate) unsafe extern "C" fn open(context: &ROpenContext<'_>) -> ROpened {
        let opened = guard(|| {
            // SAFETY: the host lends live handles for the length of this call.
            let sink = unsafe { EventSink::retained(context.sink) };
            // SAFETY: as above.
            let services = unsafe { Services::of(context.host) };
            let config = serde_json::from_str(context.config.as_str())
                .map_err(|e| OpenError::new(format!("the plugin's configuration block is not JSON: {e}")))?;
            let data_dir = PathBuf::from(context.data_dir.as_str());
            let account_id = context.account_id.into_option().map(|id| id.as_str().to_owned());
            let host = Arc::clone(&services.host);
            let context = OpenContext::new(config, data_dir, account_id, sink, services);
            match E::Broker::open(context) {
                Ok(broker) => Ok(Box::new(Instance {
                    broker,
                    poisoned: AtomicBool::new(false),
                    _host: host,
                })),
                Err(failed) => {
                    if failed.is_temporary {
                        services::tell_temporary(&host);
                    }
                    Err(failed)
                }
            }
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

    /// # Safety
    /// `broker` must come from `open` and not be freed yet.
    unsafe fn instance<'a>(broker: *const c_void) -> &'a Instance<E::Broker> {
        // SAFETY: the caller vouches for the pointer.
        unsafe { Instance::borrow(broker) }
    }

    unsafe extern "C" fn place_order(broker: *const c_void, order: &ROrderRequest<'_>) -> RAnswer {
        // SAFETY: the host calls with what `open` gave.
        let result = unsafe { Self::instance(broker) }.guard(|broker| {
            let mut read = take_order();
            let result = match convert::order_into(order, &mut read) {
                Ok(()) => broker.place_order(&read),
                // The order never reached the author's code, so the refusal is certain.
                Err(reason) => PlaceResult::Rejected { reason },
            };
            give_order_back(read);
            result
        });
        convert::place_out(result.unwrap_or_else(|reason| PlaceResult::Unknown { reason }))
    }

    unsafe extern "C" fn cancel_order(broker: *const c_void, cancel: &RCancelRequest<'_>) -> RAnswer {
        // SAFETY: the host calls with what `open` gave.
        let instance = unsafe { Self::instance(broker) };
        let result = instance.guard(|broker| broker.cancel_order(&convert::cancel_in(cancel)));
        convert::cancel_result_out(result.unwrap_or_else(|reason| CancelResult::Unknown { reason }))
    }

    unsafe extern "C" fn orders_today(broker: *const c_void) -> RRows<ROrderRow> {
        // SAFETY: the host calls with what `open` gave.
        unsafe { Self::instance(broker) }.rows(Broker::orders_today, convert::order_row_out)
    }

    unsafe extern "C" fn trades_today(broker: *const c_void) -> RRows<RTradeRow> {
        // SAFETY: the host calls with what `open` gave.
        unsafe { Self::instance(broker) }.rows(Broker::trades_today, convert::trade_out)
    }

    unsafe extern "C" fn positions(broker: *const c_void) -> RRows<RPositionRow> {
        // SAFETY: the host calls with what `open` gave.
        unsafe { Self::instance(broker) }.rows(Broker::positions, convert::position_out)
    }

    unsafe extern "C" fn account(broker: *const c_void) -> RRows<RAccountRow> {
        let read = |broker: &E::Broker| broker.account().map(|row| vec![row]);
        // SAFETY: the host calls with what `open` gave.
        unsafe { Self::instance(broker) }.rows(read, convert::account_out)
    }

    unsafe extern "C" fn connection(broker: *const c_void) -> RConnection {
        // SAFETY: the host calls with what `open` gave.
        let state = unsafe { Self::instance(broker) }.guard(Broker::connection);
        convert::connection_out(state.unwrap_or_else(|reason| ConnectionState::Disconnected { reason }))
    }

    unsafe extern "C" fn close(broker: *const c_void) {
        // A broker that panics while closing is freed all the same; that it did is asked for by `poisoned`.
        // SAFETY: the host calls with what `open` gave.
        let _ = unsafe { Self::instance(broker) }.guard(Broker::close);
    }

    unsafe extern "C" fn poisoned(broker: *const c_void) -> u8 {
        // SAFETY: the host calls with what `open` gave.
        let instance = unsafe { Self::instance(broker) };
        u8::from(instance.poisoned.load(Ordering::Acquire))
    }

    unsafe extern "C" fn query(_broker: *const c_void, name: RStr<'_>) -> ROption<RInterface> {
        E::interface(name.as_str()).map(|interface| interface.0).into()
    }

    unsafe extern "C" fn free(broker: *const c_void) {
        if broker.is_null() {
            return;
        }
        // A panic in the author's Drop ends here.
        // SAFETY: the host frees once what `open` gave, and uses it no more.
        let _ = guard(|| drop(unsafe { Box::from_raw(broker.cast::<Instance<E::Broker>>().cast_mut()) }));
    }
}

extern "C" fn statement<E: Export>() -> RStr<'static> {
    RStr::from_str(E::STATEMENT)
}

extern "C" fn query<E: Export>(name: RStr<'_>) -> ROption<RInterface> {
    if !interfaces::is_of_module(name.as_str()) {
        return ROption::RNone;
    }
    E::interface(name.as_str()).map(|interface| interface.0).into()
}

extern "C" fn root<E: Export>() -> RootModuleResult {
    let module = Root {
        abi: ABI,
        statement: statement::<E>,
        open: Glue::<E>::open,
        query: query::<E>,
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
