//! Variables of the environment that hold a secret, which no child of this program is to inherit.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::config::{ApiToken, Config, SecretPlace};

/// Those that are known by name. The account's number is no secret and nobody else's affair.
const ALWAYS: [&str; 3] = [
    "TRADER_API_TOKEN",
    super::keyring::PASSPHRASE,
    "TRADER_MINIQMT_ACCOUNT_ID",
];

/// Those that the configuration names with `env:NAME`.
static NAMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes which variables hold a secret by the word of a configuration.
pub(crate) fn note_variables(config: &Config) {
    if let Some(ApiToken::Variable(name)) = &config.api_token {
        note(name);
    }
    let webhook = config.alerts.webhook.iter();
    for place in webhook.flat_map(|webhook| std::iter::once(&webhook.url).chain(&webhook.secret)) {
        if let SecretPlace::Variable(name) = place {
            note(name);
        }
    }
}

fn note(name: &str) {
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    named.insert(name.to_owned());
}

/// Says each such variable, to be left out where a child is started.
pub(crate) fn hide_from(mut leave_out: impl FnMut(&str)) {
    ALWAYS.into_iter().for_each(&mut leave_out);
    let named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    named.iter().for_each(|name| leave_out(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_names_is_left_out_beside_what_is_always_left_out() {
        note("ROBOT_URL");
        note("ROBOT_URL");
        let mut said = Vec::new();
        hide_from(|name| said.push(name.to_owned()));
        assert_eq!(
            said,
            [
                "TRADER_API_TOKEN",
                "TRADER_PASSPHRASE",
                "TRADER_MINIQMT_ACCOUNT_ID",
                "ROBOT_URL"
            ]
        );
    }
}
