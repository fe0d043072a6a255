//! Gets an alert to where people see it: a robot's webhook, a command, or both.

use std::process::Stdio;
use std::time::Duration;

use reqwest::{Url, redirect};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::{Alert, format};
use crate::clock::Clock;
use crate::config::{self, Secret, WebhookFormat};
use crate::system;

/// How long one post, and one run of the command, may take.
const ONE_TRY: Duration = Duration::from_secs(10);
/// The waits between the tries of one alert: robots are busy now and then.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// No answer is read beyond this.
const MAX_ANSWER: usize = 64 * 1024;

/// Where alerts go.
#[derive(Clone)]
pub(crate) struct Channels {
    webhook: Option<Robot>,
    command: Vec<String>,
    waits: &'static [Duration],
}

#[derive(Clone)]
struct Robot {
    http: reqwest::Client,
    /// Not to be shown: it is as good as a password.
    url: Secret,
    format: WebhookFormat,
    secret: Option<Secret>,
}

impl Channels {
    /// Reads the secrets and sets the client up; nothing is sent.
    ///
    /// # Errors
    ///
    /// A sentence about the configuration, with no secret in it.
    pub(crate) fn new(settings: &config::Alerts) -> Result<Self, String> {
        Ok(Self {
            webhook: settings.webhook.as_ref().map(Robot::new).transpose()?,
            command: settings.command.clone(),
            waits: &WAITS,
        })
    }

    /// The same, which tries each once: a person waits for the answer.
    pub(crate) const fn impatient(mut self) -> Self {
        self.waits = &[];
        self
    }

    /// Each channel by itself, so that one that is dead holds up no other.
    pub(super) fn apart(self) -> Vec<Self> {
        let waits = self.waits;
        let robot = self.webhook.map(|robot| Self {
            webhook: Some(robot),
            command: Vec::new(),
            waits,
        });
        let command = Some(self.command).filter(|command| !command.is_empty());
        let command = command.map(|command| Self {
            webhook: None,
            command,
            waits,
        });
        robot.into_iter().chain(command).collect()
    }

    /// The name of each channel and what came of it, in turn.
    pub(crate) async fn each(&self, alert: &Alert, held_back: u64) -> Vec<(String, Result<(), String>)> {
        let mut results = Vec::new();
        if let Some(robot) = &self.webhook {
            let name = format!("webhook ({})", robot.format.name());
            results.push((name, self.again(|| robot.post(alert, held_back)).await));
        }
        if let Some(program) = self.command.first() {
            let name = format!("command ({program})");
            results.push((name, self.again(|| run(&self.command, alert, held_back)).await));
        }
        results
    }

    /// Delivers to every channel.
    ///
    /// # Errors
    ///
    /// What went wrong with each that failed.
    pub(crate) async fn deliver(&self, alert: &Alert, held_back: u64) -> Result<(), String> {
        let results = self.each(alert, held_back).await;
        let failed: Vec<String> = results
            .into_iter()
            .filter_map(|(name, result)| result.err().map(|why| format!("{name}: {why}")))
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("; "))
        }
    }

    async fn again<F: Future<Output = Result<(), String>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<(), String> {
        let mut result = work().await;
        for wait in self.waits {
            if result.is_ok() {
                break;
            }
            sleep(*wait).await;
            result = work().await;
        }
        result
    }
}

impl Robot {
    fn new(webhook: &config::Webhook) -> Result<Self, String> {
        let url = webhook
            .url
            .read()
            .map_err(|e| format!("`alerts.webhook.url`: {e}"))?;
        let is_usable = Url::parse(url.expose())
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        if !is_usable {
            return Err(
                "`alerts.webhook.url` is no address that begins with http:// or https:// (not shown)"
                    .to_owned(),
            );
        }
        let secret = webhook.secret.as_ref().map(config::SecretPlace::read).transpose();
        // A second install fails because the first one stands, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("quantTrader/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(ONE_TRY)
            .build()
            .map_err(|e| format!("the HTTP client for alerts cannot be set up: {}", e.without_url()))?;
        Ok(Self {
            http,
            url,
            format: webhook.format,
            secret: secret.map_err(|e| format!("`alerts.webhook.secret`: {e}"))?,
        })
    }

    async fn post(&self, alert: &Alert, held_back: u64) -> Result<(), String> {
        let secret = self.secret.as_ref().map(Secret::expose);
        let message = format::message(self.format, alert, held_back, secret, Clock::system().now_ms());
        let mut url = Url::parse(self.url.expose()).map_err(|_| "its address cannot be used".to_owned())?;
        if !message.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&message.query);
        }
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(message.body.to_string());
        // The library's errors name the address, which is a secret.
        let mut answer = request.send().await.map_err(|e| said(&e.without_url()))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|e| said(&e.without_url()))? {
            body.extend_from_slice(&part);
            if body.len() > MAX_ANSWER {
                break;
            }
        }
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        format::refusal(self.format, &body).map_or(Ok(()), Err)
    }
}

/// An error of the library with its cause, which says more than itself.
fn said(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() {
        return format!("no answer within {} s", ONE_TRY.as_secs());
    }
    format!("it cannot be reached: {cause}")
}

/// Runs the command with the alert on its standard input.
async fn run(command: &[String], alert: &Alert, held_back: u64) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let mut command = Command::new(program);
    crate::secrets::hide_from(|name| {
        command.env_remove(name);
    });
    system::in_own_group(command.as_std_mut());
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("it cannot be started: {e}"))?;
    // A script that hangs does so in a program that it started, which would stay, one for each alert.
    let helpers = system::Helpers::of(&child);
    let text = format!("{}\n", format::object(alert, held_back));
    let work = async {
        if let Some(mut input) = child.stdin.take() {
            // A command that does not read is as good.
            input.write_all(text.as_bytes()).await.ok();
        }
        child.wait().await
    };
    let Ok(ended) = timeout(ONE_TRY, work).await else {
        // Dropping them ends it and what it started.
        return Err(format!(
            "it took longer than {} s and was ended",
            ONE_TRY.as_secs()
        ));
    };
    helpers.leave();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("it ended with {status}")),
        Err(e) => Err(format!("nobody knows how it ended: {e}")),
    }
}
