//! Reads the settings of `serve`.

use super::reader::{SettingsReader, read_all};
use super::settings::{
    BudgetSettings, ConnectionSettings, ListenSettings, LogSettings, ResponseSettings, Serve, ServeMode,
    StopSettings, TierSettings,
};
use super::tier_place::TierLogin;
use super::{checks, faults::SettingErrors, tier_place, traces::Traces, values};
use crate::engine::EngineSettings;

/// Reads the settings of the log.
pub(super) fn log(read: &mut SettingsReader) -> Option<LogSettings> {
    read_all!(
        read,
        LogSettings {
            filter: one("log", values::log_filter),
            format: optional("log-format", values::log_format)
        }
    )
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: SettingsReader, traces: Traces) -> Result<Serve, SettingErrors> {
    let read = &mut reader;
    let listeners = read_all!(
        read,
        ListenSettings {
            public: one("listen", values::address),
            admin: one("admin-listen", values::address)
        }
    );
    let upstream = upstream(read);
    let budget = budget(read);
    let reading = reading(read);
    let cache_bytes = read.one("cache-bytes", values::bytes);
    let tier = tier(read);
    let answers = read_all!(
        read,
        ResponseSettings {
            request_deadline: one("request-deadline", values::length),
            max_json_bytes: one("max-json-bytes", values::bytes),
            max_questions: one("max-questions", values::count),
            cursor_bytes: one("cursor-bytes", values::bytes),
            cors_origins: many("cors-origin", values::origin),
            has_console: one("console", values::switch),
        }
    );
    let stopping = read_all!(
        read,
        StopSettings {
            stall_timeout: one("stall-timeout", values::length),
            drain_delay: one("drain-delay", values::length_or_zero),
            drain_timeout: one("drain-timeout", values::length_or_zero),
        }
    );
    let log = log(read);
    let purpose =
        read.one("check", values::switch).map(|check| if check { ServeMode::Check } else { ServeMode::Run });

    let Traces { settings: traces, mut warnings } = traces;
    checks::ports(read, listeners.as_ref());
    checks::cache(read, cache_bytes);
    checks::replicas(read, budget.as_ref());
    checks::freshness(&mut warnings, reading.as_ref());
    checks::parallelism(&mut warnings, reading.as_ref(), budget.as_ref());
    checks::deadlines(&mut warnings, upstream.as_ref(), answers.as_ref());

    let mut effective = read.effective();
    if let Some(traces) = &traces {
        effective.push(("otlp-traces", traces.endpoint.to_string()));
    }
    let serve = Some(()).and_then(|()| {
        Some(Serve {
            purpose: purpose?,
            listeners: listeners?,
            upstream: upstream?,
            budget: budget?,
            reading: reading?,
            cache_bytes: cache_bytes?,
            tier: tier?,
            answers: answers?,
            stopping: stopping?,
            log: log?,
            traces,
            effective,
            warnings,
        })
    });
    reader.finish(serve)
}

fn budget(read: &mut SettingsReader) -> Option<BudgetSettings> {
    read_all!(
        read,
        BudgetSettings {
            concurrency: one("upstream-concurrency", values::count),
            rate: one("upstream-rate", values::rate),
            replicas: one("replicas", values::count),
            scope: one("rate-scope", values::rate_scope),
            refresh_reserve: one("refresh-reserve", values::share),
        }
    )
}

fn reading(read: &mut SettingsReader) -> Option<EngineSettings> {
    read_all!(
        read,
        EngineSettings {
            budget_patience: one("budget-patience", values::length),
            fan_out: one("fan-out", values::count),
            window: one("window", values::window),
            history_start: optional("history-start", values::instant),
            live_ttl: one("live-ttl", values::length_or_zero),
            settling_ttl: one("settling-ttl", values::length_or_zero),
            settled_ttl: one("settled-ttl", values::length_or_zero),
            settle_after: one("settle-after", values::length_or_zero),
            commit_lag: one("commit-lag", values::length_or_zero),
            stale_while_revalidate: one("stale-while-revalidate", values::length_or_zero),
            stale_if_error: one("stale-if-error", values::length_or_zero),
        }
    )
}

fn tier(read: &mut SettingsReader) -> Option<Option<TierSettings>> {
    let url = read.optional("tier-url", tier_place::tier_url);
    let secret_file = read.optional("tier-secret-file", values::file);
    let bytes = read.one("tier-bytes", values::bytes);
    let login = read_all!(
        read,
        TierLogin {
            user: optional("tier-user", values::user),
            password_file: optional("tier-password-file", values::file),
            ca_file: optional("tier-ca-file", values::file),
            is_insecure: one("tier-insecure", values::switch),
            timeout: one("tier-timeout", values::length),
        }
    );
    let place = tier_place::tier_place(read, url?, bytes?, login?);
    checks::tier(read, place, secret_file?)
}

/// Reads the settings of `serve` for a command that needs a tier.
///
/// # Errors
/// Every fault.
pub(super) fn read_with_tier(reader: SettingsReader) -> Result<Serve, SettingErrors> {
    let serve = read(reader, Traces::default())?;
    if serve.tier.is_none() {
        let mut faults = SettingErrors::default();
        faults.push("--tier-url", "is required");
        return Err(faults);
    }
    Ok(serve)
}

fn upstream(read: &mut SettingsReader) -> Option<ConnectionSettings> {
    let url = read.one("upstream-url", values::url);
    let is_insecure = read.one("upstream-insecure", values::switch);
    let ca_file = read.optional("upstream-ca-file", values::file);
    let timeout = read.one("upstream-timeout", values::length);
    let key_file = read.optional("upstream-key-file", values::file);
    let tokens_file = read.optional("client-tokens-file", values::file);
    if is_insecure == Some(false) {
        checks::credentials_stay_private(read, url.as_ref());
    }
    if let Some(Some(file)) = &ca_file {
        checks::readable(read, "upstream-ca-file", file);
    }
    let forwarding = read.optional("forward", values::forwarding);
    let keys = checks::keys(read, key_file?, tokens_file?);
    let forwarding = checks::forwarding(read, forwarding?, keys.as_ref()?);
    Some(ConnectionSettings {
        url: url?,
        is_insecure: is_insecure?,
        ca_file: ca_file?,
        keys: keys?,
        timeout: timeout?,
        forwarding: forwarding?,
    })
}
