//! When certificates end, and when people are told.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The time in which a certificate counts (RFC 5280 section 4.1.2.5), both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Before it the certificate does not count yet.
    pub not_before: SystemTime,
    /// After it the certificate counts no longer.
    pub not_after: SystemTime,
}

impl Validity {
    /// What the certificate says.
    ///
    /// # Errors
    /// Says so when it is no certificate that x509-parser, and so Pingora, understands.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("has a certificate that does not parse: {error}"))?;
        let validity = parsed.validity();
        Ok(Self {
            not_before: from_unix(validity.not_before.timestamp()),
            not_after: from_unix(validity.not_after.timestamp()),
        })
    }

    /// # Errors
    /// Says since when or until when it does not hold.
    pub fn holds(&self, now: SystemTime) -> Result<(), String> {
        if now > self.not_after {
            return Err(format!("has ended at {}", When(self.not_after)));
        }
        if now < self.not_before {
            return Err(format!("begins only at {}", When(self.not_before)));
        }
        Ok(())
    }
}

fn from_unix(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH) // never: a certificate's years are 0 to 9999
}

/// A time as records and logs write it: RFC 3339, in UTC.
#[derive(Debug, Clone, Copy)]
pub struct When(pub SystemTime);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = match self.0.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()),
            Err(before) => i64::try_from(before.duration().as_secs()).map(|seconds| -seconds),
        };
        let text =
            seconds.ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("a time out of range"))
    }
}

/// When a certificate in use ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// What it is for, as metrics call it, such as `upstream_client`.
    pub certificate: &'static str,
    /// Its last second.
    pub not_after: SystemTime,
}

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Within [`Urgency::SOON`]: time to renew.
    Soon,
    /// Within [`Urgency::NOW`]: somebody should be woken.
    Now,
    /// It has ended: connections are refused.
    Ended,
}

impl Urgency {
    /// How long before the end people are told first.
    pub const SOON: Duration = Duration::from_secs(30 * 24 * 3600);
    /// How long before the end they are told as of an error.
    pub const NOW: Duration = Duration::from_secs(3 * 24 * 3600);

    /// `None` while the end is far.
    pub fn of(expiry: &Expiry, now: SystemTime) -> Option<Self> {
        match expiry.not_after.duration_since(now) {
            Err(_) => Some(Self::Ended),
            Ok(left) if left <= Self::NOW => Some(Self::Now),
            Ok(left) if left <= Self::SOON => Some(Self::Soon),
            Ok(_) => None,
        }
    }
}

/// Says of each certificate once a day that its end is near, and at once when that becomes more urgent.
#[derive(Debug, Default)]
pub struct Reminder {
    /// One entry a certificate: what was told last, and when.
    told: Vec<(Expiry, Urgency, SystemTime)>,
}

/// How often one certificate is told of.
const DAILY: Duration = Duration::from_secs(24 * 3600);

impl Reminder {
    /// What is to be told now, if anything.
    pub fn due(&mut self, expiry: Expiry, now: SystemTime) -> Option<Urgency> {
        let last = self.told.iter().position(|(told, ..)| told.certificate == expiry.certificate);
        let last = last.map(|at| self.told.swap_remove(at)).filter(|(told, ..)| *told == expiry);
        let urgency = Urgency::of(&expiry, now)?;
        // A clock that was set back is no reason to be silent for longer.
        let quiet =
            last.filter(|(_, told, at)| *told >= urgency && now.duration_since(*at).is_ok_and(|ago| ago < DAILY));
        self.told.push(quiet.unwrap_or((expiry, urgency, now)));
        quiet.is_none().then_some(urgency)
    }

    /// Logs what is due of `expiries`.
    pub fn tell(&mut self, expiries: &[Expiry], now: SystemTime) {
        for expiry in expiries {
            let (certificate, not_after) = (expiry.certificate, When(expiry.not_after));
            match self.due(*expiry, now) {
                None => {}
                Some(Urgency::Soon) => tracing::warn!(certificate, %not_after, "a certificate ends soon; renew it"),
                Some(Urgency::Now) => {
                    tracing::error!(certificate, %not_after, "a certificate ends within three days; renew it now");
                }
                Some(Urgency::Ended) => {
                    tracing::error!(certificate, %not_after, "a certificate has ended; renew it now");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(day: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + day * DAY
    }

    #[test]
    fn the_end_is_told_daily_from_thirty_days_on_and_at_once_when_it_gets_urgent() {
        let expiry = Expiry { certificate: "upstream_client", not_after: at(100) };
        let mut reminder = Reminder::default();
        let hour = Duration::from_secs(3600);
        for (now, expected) in [
            (at(69), None),
            (at(70), Some(Urgency::Soon)),
            (at(70) + hour, None),
            (at(71), Some(Urgency::Soon)),
            (at(96) + hour, Some(Urgency::Soon)),
            (at(97), Some(Urgency::Now)),
            (at(97) + hour, None),
            (at(100), Some(Urgency::Now)),
            (at(100) + hour, Some(Urgency::Ended)),
            (at(100) + 2 * hour, None),
        ] {
            assert_eq!(reminder.due(expiry, now), expected, "{}", When(now));
        }
    }

    #[test]
    fn a_renewed_certificate_begins_anew_and_others_are_told_apart() {
        let mut reminder = Reminder::default();
        let (client, ca) = ("upstream_client", "upstream_ca");
        assert_eq!(reminder.due(Expiry { certificate: client, not_after: at(10) }, at(8)), Some(Urgency::Now));
        assert_eq!(reminder.due(Expiry { certificate: ca, not_after: at(10) }, at(8)), Some(Urgency::Now));
        assert_eq!(reminder.due(Expiry { certificate: client, not_after: at(20) }, at(8)), Some(Urgency::Soon));
        assert_eq!(reminder.due(Expiry { certificate: client, not_after: at(90) }, at(8)), None);
        assert_eq!(reminder.due(Expiry { certificate: ca, not_after: at(10) }, at(8)), None);
    }

    #[test]
    fn a_certificate_counts_from_its_first_second_to_its_last() {
        let validity = Validity { not_before: at(1), not_after: at(2) };
        assert_eq!(validity.holds(at(0)).unwrap_err(), "begins only at 1970-01-02T00:00:00Z");
        assert!(validity.holds(at(1)).is_ok() && validity.holds(at(2)).is_ok());
        assert_eq!(validity.holds(at(3)).unwrap_err(), "has ended at 1970-01-03T00:00:00Z");
        assert!(Validity::of(&CertificateDer::from_slice(b"0")).is_err());
    }
}
