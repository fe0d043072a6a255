//! The trait that an author implements.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    services::{EventSink, HostClock, HostConfig, HostLog, HostMetrics, Services},
    values::{
        AccountRow, CallError, CancelRequest, CancelResult, ConnectionState, OpenError, OrderRequest,
        OrderRow, PlaceResult, PositionRow, TradeRow,
    },
};

/// What a broker gets when it is opened.
#[non_exhaustive]
pub struct OpenContext {
    /// The plugin's own block of the configuration; an empty object where the user gave none.
    pub config: Value,
    /// A folder that the plugin may write to; it exists.
    pub data_dir: PathBuf,
    /// The broker's number of the account, where one is configured. It is a secret: keep it out of logs.
    pub account_id: Option<String>,
    /// Where events go.
    pub sink: EventSink,
    /// The host's log.
    pub log: HostLog,
    /// The host's clock.
    pub clock: HostClock,
    /// The configuration block as it stands at any later time.
    pub live_config: HostConfig,
    /// The host's metrics.
    pub metrics: HostMetrics,
}

impl OpenContext {
    /// Assembles a context from its parts.
    #[must_use]
    pub(crate) fn new(
        config: Value,
        data_dir: PathBuf,
        account_id: Option<String>,
        sink: EventSink,
        services: Services,
    ) -> Self {
        Self {
            config,
            data_dir,
            account_id,
            sink,
            log: services.log,
            clock: services.clock,
            live_config: services.config,
            metrics: services.metrics,
        }
    }

    /// Reads the configuration block as a type of the author's.
    ///
    /// # Errors
    /// Says which key is wrong when the block does not fit the type.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, OpenError> {
        crate::block::read(&self.config).map_err(OpenError::new)
    }
}

/// A broker. The host calls it from several threads at once, so it locks what it must.
///
/// A panic in any of these is caught inside the plugin and becomes an error: in `place_order` and
/// `cancel_order` the outcome is then unknown.
pub trait Broker: Sized + Send + Sync + 'static {
    /// Connects, or says what the user must do first.
    ///
    /// # Errors
    /// A reason in words for the user.
    fn open(cx: OpenContext) -> Result<Self, OpenError>;

    /// Places an order. The same client order id may come again after a restart; it must not become two orders.
    fn place_order(&self, order: &OrderRequest) -> PlaceResult;

    /// Asks for an order's cancel.
    fn cancel_order(&self, cancel: &CancelRequest) -> CancelResult;

    /// Every order of the day.
    ///
    /// # Errors
    /// Whenever the list could lack a row: half a snapshot is worse than none.
    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError>;

    /// Every trade of the day.
    ///
    /// # Errors
    /// Whenever the list could lack a row.
    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError>;

    /// Every holding.
    ///
    /// # Errors
    /// Whenever the list could lack a row: an empty list means an empty account.
    fn positions(&self) -> Result<Vec<PositionRow>, CallError>;

    /// The account's money.
    ///
    /// # Errors
    /// When the broker does not answer.
    fn account(&self) -> Result<AccountRow, CallError>;

    /// State of the connection, as far as it is known without asking.
    fn connection(&self) -> ConnectionState;

    /// Ends the session. It may come twice, or while other calls are under way. Write here what must be on the disk: the
    /// process may end afterwards without running anything of yours.
    fn close(&self) {}
}
