//! What the command line asks for.

use crate::setup::Setup;

/// What to measure, and how to print it.
#[derive(Debug)]
pub struct Wishes {
    only: Option<Vec<String>>,
    /// JSON in the place of tables.
    pub json: bool,
    /// The files and sizes.
    pub setup: Setup,
}

impl Wishes {
    /// Reads the arguments; `None` where they mean nothing.
    pub fn parse(arguments: &[String], is_known: impl Fn(&str) -> bool) -> Option<Self> {
        let mut wishes = Self {
            only: None,
            json: false,
            setup: Setup::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--json" => wishes.json = true,
                "--only" => {
                    let names: Vec<String> = rest.next()?.split(',').map(str::to_owned).collect();
                    if !names.iter().all(|name| is_known(name)) {
                        return None;
                    }
                    wishes.only = Some(names);
                }
                "--signals-a-day" => {
                    wishes.setup.signals_a_day = rest.next()?.parse().ok().filter(|count| *count >= 2_000)?;
                }
                _ => return None,
            }
        }
        Some(wishes)
    }

    /// True when this measurement is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|names| names.iter().any(|wanted| wanted == name))
    }
}
