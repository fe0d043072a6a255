//! The way by NATS: the servers, both streams, and how far the consumer is.

use super::Report;
use crate::backend::nats::{Credentials, Nats, Seen};
use crate::cli::Failure;
use crate::cli::login::{until, wait_for};
use crate::clock::Clock;
use crate::config::{self, Config};

/// Looks at NATS for all accounts.
pub(super) fn examine(config: &Config, settings: &config::Nats, report: &mut Report) -> Result<(), Failure> {
    let url = &settings.url;
    if settings.is_exposed() {
        let saw = format!("{url} is spoken to without TLS: everybody on the way can change signals");
        let todo = if config.allow_insecure_http {
            "give a tls:// address"
        } else {
            "give a tls:// address. A broker that moves money is not traded this way without \"allow_insecure_http\": true"
        };
        report.unclear("address", saw, todo);
    } else {
        report.good("address", url.as_str());
    }
    let nats = match Nats::new(settings, config.ca_certificate.as_deref()) {
        Ok(nats) => nats,
        Err(why) => {
            report.code(2);
            report.bad(
                "credentials",
                why,
                "name the .creds file that your user may read, and with `ca_certificate` a PEM file",
            );
            return Ok(());
        }
    };
    if let Some(credentials) = nats.credentials() {
        end_of(credentials, report);
    }
    match wait_for(nats.look())? {
        Ok(seen) => {
            report.good("connection", format!("{url} answers"));
            streams(settings, &seen, report);
        }
        Err(why) => report.bad(
            "connection",
            why,
            "start nats-server, correct `nats.url` and `nats.credentials`, or let the firewall allow this machine's connections \
             to it",
        ),
    }
    Ok(())
}

/// How long the credentials are good, as far as they say.
fn end_of(credentials: &Credentials, report: &mut Report) {
    if let Err(why) = credentials.read() {
        return report.bad("credentials", why, credentials.remedy());
    }
    let now_ms = Clock::system().now_ms();
    let ends_ms = credentials.ends_at_ms();
    let saw = format!(
        "from {}; the token {}",
        credentials.shown(),
        until(ends_ms, now_ms)
    );
    match ends_ms.map(|ends| ends - now_ms) {
        Some(..=0) => report.bad("credentials", saw, credentials.remedy()),
        Some(..=86_400_000) => report.unclear("credentials", saw, credentials.remedy()),
        _ => report.good("credentials", saw),
    }
}

fn streams(settings: &config::Nats, seen: &Seen, report: &mut Report) {
    let (stream, consumer) = (&settings.signals_stream, &settings.consumer);
    match &seen.signals {
        Ok(count) => {
            let is_new = settings.begin == config::NatsBegin::New;
            report.good("signals", format!("the stream {stream} has {count} messages"));
            match &seen.consumer {
                Ok(Some(consumer_at)) => report.good(
                    "consumer",
                    format!(
                        "{consumer} has {} signals still to hand out and {} that are handed out and not acknowledged",
                        consumer_at.pending, consumer_at.open
                    ),
                ),
                Ok(None) if *count > 0 && is_new => report.unclear(
                    "consumer",
                    format!(
                        "{consumer} is not there yet: the host makes it at its first start, and it hands out {count} messages. Those \
                         published before an account's journal began are not taken by that account"
                    ),
                    "publish again what is still wanted once the host trades. For accounts that have never traded, \
                     \"begin\": \"all\" in the block `nats` takes them all",
                ),
                Ok(None) if *count > 0 => report.unclear(
                    "consumer",
                    format!(
                        "{consumer} is not there yet: the host makes it at its first start, and it hands out {count} messages. \
                         `nats.begin` is all: an account whose journal does not know them carries each out"
                    ),
                    "set \"begin\" to \"new\" where an account has traded with another journal, or it trades all of them again",
                ),
                Ok(None) => report.good(
                    "consumer",
                    format!("{consumer} is not there yet: the host makes it at its first start"),
                ),
                Err(why) => report.bad(
                    "consumer",
                    format!("{consumer}: {why}"),
                    "may these credentials see and make consumers of the stream?",
                ),
            }
        }
        Err(why) => report.bad(
            "signals",
            format!("the stream {stream} cannot be used: {why}"),
            "whoever publishes signals makes it; is `nats.signals_stream` right?",
        ),
    }
    let subject = &settings.reports_subject;
    match &seen.reports {
        Ok(stream) => report.good("reports", format!("the stream {stream} takes {subject}.>")),
        Err(why) => report.bad(
            "reports",
            format!("no stream takes the subjects {subject}.status and {subject}.executions: {why}"),
            "whoever reads reports makes one; is `nats.reports_subject` right?",
        ),
    }
}
