//! The `PGM_*` variables: one table with name, syntax, help text and parser (design D9).
//!
//! The table also feeds the manual page, so `values` and `help` are sentences for users.

mod table;

pub use table::VARIABLES;

use super::config::{Defaults, FecInfo, UdpEncap, WantedInterface};
use super::log::Level;
use crate::receiver::ParityNaks;
use std::time::Duration;

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it may be set to.
    pub values: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Apply a value; `None` if it is not among `values`.
    set: fn(&mut Draft, &str) -> Option<()>,
}

/// Defaults while variables are applied.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What it will be.
    pub defaults: Defaults,
    /// PGM_LOG, if set.
    pub log: Option<Level>,
    /// PGM_RATE, kbit/s; the three of the window are combined at the end.
    rate_kbits: Option<u32>,
    /// PGM_WINDOW, octets.
    bytes: Option<u32>,
    /// PGM_WINDOW_MS.
    msecs: Option<u32>,
}

/// Variables of OpenPGM, which a program under the shim may use as well: none of ours, no mistake either.
const OPENPGM: &[&str] = &[
    "PGM_TIMER",
    "PGM_SLEEP",
    "PGM_LOG_MASK",
    "PGM_MIN_LOG_LEVEL",
];

/// Apply all variables that are set to something, in the table's order. The second part is a sentence
/// for each that was not understood.
pub(super) fn apply(mut draft: Draft, variables: &[(String, String)]) -> (Draft, Vec<String>) {
    let mut errors = Vec::new();
    for Variable {
        name, values, set, ..
    } in VARIABLES
    {
        let given = variables
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.trim());
        if let Some(value) = given.filter(|value| !value.is_empty())
            && set(&mut draft, value).is_none()
        {
            errors.push(format!("{name}={value}: must be {values}"));
        }
    }
    if (draft.rate_kbits, draft.bytes, draft.msecs) != (None, None, None) {
        let window = &mut draft.defaults.send.window;
        match window.with(draft.rate_kbits, draft.bytes, draft.msecs) {
            Some(combined) => *window = combined,
            None => errors.push(
                "PGM_RATE, PGM_WINDOW and PGM_WINDOW_MS contradict each other: window = rate × time"
                    .to_owned(),
            ),
        }
    }
    (draft, errors)
}

/// Names of test programs' own settings begin so.
const TESTS: &str = "PGM_TEST_";

/// Names that begin as ours and are in no table.
pub(super) fn unknown(variables: &[(String, String)]) -> impl Iterator<Item = &str> {
    variables
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !is_foreign(name) && VARIABLES.iter().all(|v| v.name != *name))
}

/// Whether the name, though it begins as ours, is somebody else's.
pub(super) fn is_foreign(name: &str) -> bool {
    name.starts_with(TESTS) || OPENPGM.contains(&name)
}

fn assign<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn assign_some<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    assign(place, value.map(Some))
}

fn positive<T: std::str::FromStr + Default + PartialOrd>(value: &str) -> Option<T> {
    value.parse().ok().filter(|n| *n > T::default())
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "on" | "1" | "yes" => Some(true),
        "off" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn parity_naks(value: &str) -> Option<ParityNaks> {
    match value {
        "auto" => Some(ParityNaks::Auto),
        _ => switch(value).map(|on| match on {
            true => ParityNaks::On,
            false => ParityNaks::Off,
        }),
    }
}

fn level(value: &str) -> Option<Level> {
    [
        Level::Off,
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
    ]
    .into_iter()
    .find(|level| level.name() == value)
}

fn interface(value: &str) -> WantedInterface {
    match value.parse() {
        Ok(addr) => WantedInterface::Addr(addr),
        Err(_) => WantedInterface::Name(value.to_owned()),
    }
}

fn encap(value: &str) -> Option<UdpEncap> {
    let (unicast, multicast) = value.split_once(':').unwrap_or((value, value));
    Some(UdpEncap {
        unicast: positive(unicast)?,
        multicast: positive(multicast)?,
    })
}

/// PGM_FEC. Block size 0 stands for 255, as in RM_USE_FEC.
fn fec(value: &str) -> Option<Option<FecInfo>> {
    if value == "off" {
        return Some(None);
    }
    let mut parts = value.split(':');
    let info = FecInfo {
        block_size: match parts.next()?.parse().ok()? {
            0 => 255,
            n => n,
        },
        group_size: parts.next()?.parse().ok()?,
        proactive: parts.next()?.parse().ok()?,
        on_demand: switch(parts.next()?)?,
    };
    let valid = parts.next().is_none() && info.is_valid();
    valid.then_some(Some(info))
}

/// A non-negative decimal number and what follows it.
fn quantity(value: &str) -> Option<(f64, &str)> {
    let end = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// A number with k, M or G (powers of ten).
fn scaled(value: &str) -> Option<f64> {
    let (number, unit) = quantity(value)?;
    Some(match unit {
        "" => number,
        "k" | "K" => number * 1e3,
        "m" | "M" => number * 1e6,
        "g" | "G" => number * 1e9,
        _ => return None,
    })
}

/// The whole number a parsed quantity stands for, if it is at least 1 and fits.
fn whole(number: f64) -> Option<u32> {
    let number = number.round();
    // The range check makes the conversion exact.
    (1.0..=f64::from(u32::MAX))
        .contains(&number)
        .then_some(number as u32)
}

fn octets<T: TryFrom<u32>>(value: &str) -> Option<T> {
    T::try_from(whole(scaled(value)?)?).ok()
}

/// kbit/s; 0 is unlimited.
fn rate(value: &str) -> Option<u32> {
    if value == "unlimited" {
        Some(0)
    } else {
        whole(scaled(value)? / 1e3)
    }
}

fn whole_percent(value: &str) -> Option<u8> {
    value
        .strip_suffix('%')
        .unwrap_or(value)
        .trim_end()
        .parse()
        .ok()
}

fn share(value: &str) -> Option<f64> {
    let (number, unit) = quantity(value)?;
    let share = match unit.trim_start() {
        "%" => number / 100.0,
        "" => number,
        _ => return None,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn duration(value: &str) -> Option<Duration> {
    let (number, unit) = quantity(value)?;
    let seconds = match unit.trim_start() {
        "us" => number / 1e6,
        "" | "ms" => number / 1e3,
        "s" => number,
        _ => return None,
    };
    // A day is more than any timer of the protocol needs.
    (seconds <= 86_400.0).then(|| Duration::from_secs_f64(seconds))
}

/// A duration that makes no busy loop.
fn interval(value: &str) -> Option<Duration> {
    duration(value).filter(|time| *time >= Duration::from_millis(1))
}

#[cfg(test)]
mod tests;
