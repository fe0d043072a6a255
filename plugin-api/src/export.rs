//! The macro that turns a broker into a plugin.

/// Makes the crate a plugin: exports its root and puts its manifest where it can be read without loading it.
///
/// The crate must be a `cdylib`. `interfaces`, `licence`, `homepage` and `config_schema` may be left out, but keep
/// their order. The schema is the text of a JSON Schema, for example by `include_str!`. Of `interfaces` there are
/// `quotes` for a broker that implements [`Quotes`](crate::Quotes) and `trades` for one that implements
/// [`TradesSince`](crate::TradesSince), and `doctor` for one that implements [`Doctor`](crate::Doctor).
///
/// ```
/// # use qt_plugin_api::*;
/// # struct Mine;
/// # impl Broker for Mine {
/// #     fn open(_: OpenContext) -> Result<Self, OpenError> { Ok(Mine) }
/// #     fn place_order(&self, _: &OrderRequest) -> PlaceResult { PlaceResult::Rejected { reason: "closed".into() } }
/// #     fn cancel_order(&self, _: &CancelRequest) -> CancelResult { CancelResult::Sent }
/// #     fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> { Ok(vec![]) }
/// #     fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> { Ok(vec![]) }
/// #     fn positions(&self) -> Result<Vec<PositionRow>, CallError> { Ok(vec![]) }
/// #     fn account(&self) -> Result<AccountRow, CallError> { Ok(AccountRow::default()) }
/// #     fn connection(&self) -> ConnectionState { ConnectionState::Connected }
/// # }
/// export_broker! {
///     type: Mine,
///     name: "mine",
///     version: env!("CARGO_PKG_VERSION"),
///     description: "My broker",
///     capabilities: ["place", "cancel"],
///     licence: "MIT",
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_broker {
    (
        type: $broker:ty,
        name: $name:expr,
        version: $version:expr,
        description: $description:expr,
        capabilities: [$($capability:expr),* $(,)?]
        $(, interfaces: [$($interface:ident),* $(,)?])?
        $(, licence: $licence:expr)?
        $(, homepage: $homepage:expr)?
        $(, config_schema: $schema:expr)?
        $(,)?
    ) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a broker plugin must be built with panic = \"unwind\": remove `panic = \"abort\"` from its profile, \
             or a panic in it would end the host"
        );

        const _: () = {
            const PARTS: $crate::__private::Parts = $crate::__private::Parts {
                name: $name,
                version: $version,
                description: $description,
                capabilities: &[$($capability),*],
                interfaces: &[$($($crate::interfaces::$interface::NAME),*)?],
                config_schema: [$($schema,)? ""][0],
                panic: if cfg!(panic = "abort") { "abort" } else { "unwind" },
                licence: [$($licence,)? ""][0],
                homepage: [$($homepage,)? ""][0],
            };

            // Exported, since a linker for Windows drops what nobody names, even where the compiler kept it.
            #[used]
            #[unsafe(export_name = "qt_plugin_manifest_v1")]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__qtplug"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".qtplug"))]
            static MANIFEST: [u8; $crate::__private::text_len(&PARTS) + $crate::__private::HEADER_LEN] =
                $crate::__private::section(&$crate::__private::text::<{ $crate::__private::text_len(&PARTS) }>(
                    &PARTS,
                ));

            struct Exported;

            impl $crate::__private::Export for Exported {
                type Broker = $broker;
                const STATEMENT: &'static str = $crate::__private::as_str(&$crate::__private::text::<
                    { $crate::__private::text_len(&PARTS) },
                >(&PARTS));

                fn interface(_name: &str) -> ::core::option::Option<$crate::__private::Interface> {
                    $($(
                        if _name == $crate::interfaces::$interface::NAME {
                            return ::core::option::Option::Some(
                                $crate::interfaces::$interface::interface::<$broker>(),
                            );
                        }
                    )*)?
                    ::core::option::Option::None
                }
            }

            #[unsafe(export_name = "qt_plugin_root_v1")]
            static ROOT: $crate::__private::LibHeader = $crate::__private::header::<Exported>();
        };
    };
}
