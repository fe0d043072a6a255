//! What lies between the lanes and a plugin's broker: the same calls, wherever the plugin runs.

use qt_plugin_api::{
    AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OpenError, OrderRequest, OrderRow,
    PlaceResult, PositionRow, Quote, TradeRow,
};

/// What became of handing an order over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placed {
    /// The plugin was called.
    Answer(PlaceResult),
    /// For certain the plugin never saw it.
    NotSent(String),
}

/// One open broker of a plugin. Several threads may call it at once.
pub(crate) trait BrokerLink: Send + Sync {
    /// Places an order. Where the answer is lost it is unknown, never "not sent".
    fn place(&self, order: &OrderRequest) -> Placed;

    /// Asks for an order's cancel.
    fn cancel(&self, cancel: &CancelRequest) -> CancelResult;

    /// Every order of the day, or why there is no complete list.
    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError>;

    /// Every trade of the day, or why there is no complete list.
    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError>;

    /// Every holding, or why there is no complete list.
    fn positions(&self) -> Result<Vec<PositionRow>, CallError>;

    /// The account's money.
    fn account(&self) -> Result<AccountRow, CallError>;

    /// Prices of these symbols, where the plugin offers them; a symbol that it does not know is left out.
    fn quotes(&self, symbols: &[String]) -> Option<Result<Vec<Quote>, CallError>>;

    /// State of the connection to the broker.
    fn connection(&self) -> ConnectionState;

    /// Ends the session as the plugin wishes it; it may hang.
    fn close(&self);

    /// Why it is of no use any more: it must be ended and opened anew.
    fn fault(&self) -> Option<String>;

    /// Ends it, whatever the plugin does. Calls that are under way come back where that is possible.
    fn end(&self);
}

/// Why a broker is not open.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct OpenFailure {
    /// The plugin's words, or what became of its process.
    pub(crate) reason: String,
    /// True when the plugin's file cannot be used at all.
    pub(crate) refused: bool,
    /// True when it may pass by itself, so that even a host that starts tries again.
    pub(crate) temporary: bool,
}

impl From<String> for OpenFailure {
    fn from(reason: String) -> Self {
        Self {
            reason,
            refused: false,
            temporary: false,
        }
    }
}

impl From<OpenError> for OpenFailure {
    fn from(failed: OpenError) -> Self {
        Self {
            reason: failed.reason,
            refused: false,
            temporary: failed.is_temporary,
        }
    }
}

/// Opens a plugin's broker, any number of times.
pub(crate) trait Opener: Send + Sync {
    /// Opens it. `keeper` is told what the link and its plugin know by themselves.
    ///
    /// # Errors
    ///
    /// [`OpenFailure`].
    fn open(&self, keeper: Keeper) -> Result<std::sync::Arc<dyn BrokerLink>, OpenFailure>;

    /// Plugin, version and where it runs, for people.
    fn describe(&self) -> String;
}

/// Who keeps a broker open, as its session sees it.
pub(crate) trait Keeps: Send + Sync {
    /// The link knows of a fault.
    fn wake(&self);

    /// The plugin says that its connection is gone.
    fn is_away(&self, reason: &str);
}

/// See [`Keeps`].
pub(crate) type Keeper = std::sync::Arc<dyn Keeps>;
