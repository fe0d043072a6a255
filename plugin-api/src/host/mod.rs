//! The consumer half, for programs that load plugins. Nothing of the ABI library shows through it.

mod broker;
mod check;
mod links;
mod metrics;
mod services;

use std::{ffi::c_void, path::Path};

use abi_stable::{
    library::{AbiHeaderRef, LibraryError},
    std_types::RStr,
};
use serde_json::Value;

pub use broker::LoadedBroker;
pub use check::{ConfigFault, ConfigFaultKind, ConfigOption};
pub use links::{QuotesLink, TradesLink};
pub use metrics::{MetricRegistry, Series, Summary};
pub use services::{Callbacks, Event, LogLine, MetricValue};

pub use crate::v1::{ABI, ROOT_SYMBOL};
use crate::{
    broker::Broker,
    glue::{Export, Glue},
    interfaces::{
        self,
        doctor::{self, DoctorV1, Finding, RDoctorContext},
    },
    manifest::Manifest,
    v1::{
        broker::{ROpenContext, ROpened},
        root::RootRef,
    },
    values::{CallError, OpenError},
};

/// Why a library that was opened is not used: a code, one sentence, and a report that only an expert wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFault {
    /// Stable code, `QT-P…`.
    pub code: &'static str,
    /// What is wrong and what to do, in one sentence that continues "the plugin …".
    pub sentence: String,
    /// The layouts that differ, thousands of characters long, or empty.
    pub report: String,
}

impl std::fmt::Display for LoadFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: the plugin {}", self.code, self.sentence)
    }
}

impl std::error::Error for LoadFault {}

/// Whether a reason tells of a panic in the plugin. Only for words to people: whether a broker has panicked it says
/// itself, by [`LoadedBroker::is_poisoned`]. One that never opened has nothing but its reason to tell it by.
#[must_use]
pub fn is_panic(reason: &str) -> bool {
    reason.starts_with(crate::glue::PANIC)
}

/// What a broker is opened with.
pub struct OpenArgs<'a> {
    /// The plugin's own block of the configuration.
    pub config: &'a Value,
    /// A folder that the plugin may write to; it must exist.
    pub data_dir: &'a Path,
    /// The broker's number of the account.
    pub account_id: Option<&'a str>,
    /// Where the plugin's events, log lines and questions go.
    pub callbacks: Callbacks,
}

/// The root module of a loaded plugin.
#[derive(Clone, Copy)]
pub struct PluginModule(RootRef);

impl PluginModule {
    /// Takes the address of the symbol [`ROOT_SYMBOL`] of an open library and checks everything behind it.
    ///
    /// # Errors
    /// When the plugin was built against another ABI or its root cannot be made.
    ///
    /// # Safety
    /// `symbol` must be the address of that symbol in a library that stays open for as long as the process lives.
    pub unsafe fn from_symbol(symbol: *const c_void) -> Result<Self, LoadFault> {
        if symbol.is_null() {
            return Err(fault(
                "QT-P018",
                format!("exports an empty {ROOT_SYMBOL}; build it again"),
                String::new(),
            ));
        }
        // SAFETY: an AbiHeaderRef is a thin reference to the header, and the caller vouches for the address.
        let header = unsafe { std::mem::transmute::<*const c_void, AbiHeaderRef>(symbol) };
        // Not `load_from_*`: that caches by type, and a second plugin would be the first one again.
        let library = header.upgrade().map_err(refusal)?;
        let module = library.init_root_module::<RootRef>().map_err(refusal)?;
        if module.abi() != ABI {
            let sentence = format!("speaks ABI {}, and this program speaks ABI {ABI}", module.abi());
            return Err(fault("QT-P012", sentence, String::new()));
        }
        Ok(Self(module))
    }

    /// What the module says of itself.
    ///
    /// # Errors
    /// When that is not the JSON of a manifest.
    pub fn statement(&self) -> Result<Manifest, LoadFault> {
        let text: RStr<'static> = (self.0.statement())();
        serde_json::from_str(text.as_str()).map_err(|e| {
            fault(
                "QT-P009",
                format!("says of itself what nobody can read ({e}); build it again"),
                String::new(),
            )
        })
    }

    /// Refuses a module that says something else of itself than the manifest in its file.
    ///
    /// # Errors
    /// Names the first difference.
    pub fn check_statement(&self, manifest: &Manifest) -> Result<(), LoadFault> {
        let own = self.statement()?;
        if own == *manifest {
            return Ok(());
        }
        let sentence = format!(
            "calls itself {} {} once loaded, while its file says {} {}; it was tampered with or badly linked: install it again",
            own.name, own.version, manifest.name, manifest.version
        );
        Err(fault("QT-P016", sentence, String::new()))
    }

    /// Lets the plugin look at what it needs, where it offers `plugin.doctor/1`.
    ///
    /// # Errors
    /// The plugin panics, answers what cannot be read, or the data folder's path is not UTF-8.
    #[must_use]
    pub fn examine(
        &self,
        config: &Value,
        data_dir: &Path,
        account_id: Option<&str>,
        now_ms: i64,
    ) -> Option<Result<Vec<Finding>, CallError>> {
        let found = (self.0.query())(RStr::from_str(doctor::NAME)).into_option()?;
        // SAFETY: the plugin answers with a table of the layout that it names, and is never unloaded.
        let table = unsafe { interfaces::checked::<DoctorV1>(found) }?;
        let Some(data_dir) = data_dir.to_str() else {
            let shown = data_dir.display();
            return Some(Err(CallError::new(format!(
                "the data folder {shown} has a name that is not UTF-8"
            ))));
        };
        let config = config.to_string();
        let context = RDoctorContext {
            config: RStr::from_str(&config),
            data_dir: RStr::from_str(data_dir),
            account_id: account_id.map(RStr::from_str).into(),
            now_ms,
            extras: RStr::from_str(""),
        };
        // SAFETY: the table was checked, and it needs no broker.
        let given = unsafe { (table.examine)(std::ptr::null(), &context) };
        Some(broker::complete("findings", given, doctor::finding_in))
    }

    /// Opens a broker.
    ///
    /// # Errors
    /// What the plugin answers, or that the data folder's path is not UTF-8.
    pub fn open(&self, args: OpenArgs<'_>) -> Result<LoadedBroker, OpenError> {
        let open = self.0.open();
        // SAFETY: `open` belongs to a module whose layout was checked.
        open_with(args, |context| unsafe { open(context) })
    }
}

/// Opens a broker that is linked into this program, over the same boundary as a loaded one.
///
/// # Errors
/// What the broker answers.
pub fn open_linked<B: Broker>(args: OpenArgs<'_>) -> Result<LoadedBroker, OpenError> {
    open_exported::<Linked<B>>(args)
}

/// A broker without a manifest, linked into this program.
struct Linked<B>(std::marker::PhantomData<B>);

impl<B: Broker> Export for Linked<B> {
    type Broker = B;
    const STATEMENT: &'static str = "";
}

/// As [`open_linked`], with the named interfaces that `E` offers.
///
/// # Errors
/// What the broker answers.
#[doc(hidden)]
pub fn open_exported<E: Export>(args: OpenArgs<'_>) -> Result<LoadedBroker, OpenError> {
    // SAFETY: the context's handles live until the call returns.
    open_with(args, |context| unsafe { Glue::<E>::open(context) })
}

fn open_with(
    args: OpenArgs<'_>,
    open: impl FnOnce(&ROpenContext<'_>) -> ROpened,
) -> Result<LoadedBroker, OpenError> {
    let data_dir = args.data_dir.to_str().ok_or_else(|| {
        OpenError::new(format!(
            "the data folder {} has a name that is not UTF-8, which a plugin cannot be told; choose another `data_dir`",
            args.data_dir.display()
        ))
    })?;
    let config = args.config.to_string();
    let host = services::Lent::new(args.callbacks.or_config(args.config));
    let context = ROpenContext {
        config: RStr::from_str(&config),
        data_dir: RStr::from_str(data_dir),
        account_id: args.account_id.map(RStr::from_str).into(),
        sink: host.sink(),
        host: host.host(),
        extras: RStr::from_str(""),
    };
    LoadedBroker::from_opened(open(&context)).map_err(|mut failed| {
        failed.is_temporary = host.is_temporary();
        failed
    })
}

fn fault(code: &'static str, sentence: String, report: String) -> LoadFault {
    LoadFault {
        code,
        sentence,
        report,
    }
}

fn refusal(error: LibraryError) -> LoadFault {
    let report = error.to_string();
    match error {
        LibraryError::AbiInstability(_) => fault(
            "QT-P012",
            format!(
                "is laid out differently than ABI {ABI} demands, though it claims that ABI; build it again with qt-plugin-api {}",
                crate::manifest::API_VERSION
            ),
            report,
        ),
        LibraryError::IncompatibleVersionNumber { actual_version, .. } => fault(
            "QT-P012",
            format!("speaks ABI {}, and this program speaks ABI {ABI}", actual_version.major),
            report,
        ),
        LibraryError::InvalidAbiHeader(_) | LibraryError::InvalidCAbi { .. } => fault(
            "QT-P019",
            "was built with another version of the ABI library; build it again with the qt-plugin-api of this program"
                .to_owned(),
            report,
        ),
        _ => fault("QT-P018", "failed to set up its root module; build it again".to_owned(), report),
    }
}
