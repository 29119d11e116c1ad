//! How long to wait for an NCF and for RDATA before the next try.
//!
//! RFC 3208 §6.3 gives the intervals no values. The configured ones must suit a slow source far away; the
//! first tries are shorter where repairs are seen to come faster, estimated as TCP does (RFC 6298).

use super::ReceiverConfig;
use std::time::Duration;

/// Shortest first wait: longer than a source leaves repeated NAKs for one SQN unanswered, and than a
/// receiver that shares a processor with it may have to wait for its turn.
const SHORTEST: Duration = Duration::from_millis(5);

/// Retries at the plain interval before it doubles: loss is repaired fast, a dead path is not pestered.
const RETRIES_PER_DOUBLING: u32 = 8;
const DOUBLINGS_MAX: u32 = 4;

/// Intervals and retry limits of the NAK machine.
#[derive(Debug)]
pub(super) struct Waits {
    nak_rpt_ivl: Duration,
    nak_rdata_ivl: Duration,
    /// NAK_NCF_RETRIES.
    pub(super) ncf_retries: u32,
    /// NAK_DATA_RETRIES.
    pub(super) data_retries: u32,
    /// We never ask: what nobody else asks for in time is lost.
    pub(super) listen_only: bool,
    /// From NAK to RDATA.
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
}

impl Waits {
    pub(super) fn new(config: &ReceiverConfig) -> Self {
        Self {
            nak_rpt_ivl: config.nak_rpt_ivl,
            nak_rdata_ivl: config.nak_rdata_ivl,
            ncf_retries: config.nak_ncf_retries,
            data_retries: config.nak_data_retries,
            listen_only: config.listen_only,
            estimate: None,
        }
    }

    /// A repair came so long after it was asked for, at the first try.
    pub(super) fn on_repair(&mut self, took: Duration) {
        self.estimate = Some(match self.estimate {
            None => Estimate {
                mean: took,
                deviation: took / 2,
            },
            Some(Estimate { mean, deviation }) => Estimate {
                mean: (mean * 7 + took) / 8,
                deviation: (deviation * 3 + took.abs_diff(mean)) / 4,
            },
        });
    }

    /// NAK_RPT_IVL after so many tries without NCF.
    pub(super) fn rpt_ivl(&self, tries: u32) -> Duration {
        self.measured(tries).min(stretched(self.nak_rpt_ivl, tries))
    }

    /// NAK_RPT_IVL at a DLR, whose way is another than the one that was measured.
    pub(super) fn dlr_rpt_ivl(&self) -> Duration {
        self.nak_rpt_ivl
    }

    /// NAK_RDATA_IVL after so many tries without RDATA.
    pub(super) fn rdata_ivl(&self, tries: u32) -> Duration {
        self.measured(tries)
            .min(stretched(self.nak_rdata_ivl, tries))
    }

    /// How long a receiver that only listens waits for others' repairs: for their back-off and one lost NAK
    /// or repair. Their NAKs and NCFs, where it hears them, prolong it.
    pub(super) fn listen_ivl(&self, nak_bo_ivl: Duration) -> Duration {
        nak_bo_ivl * 2 + self.nak_rpt_ivl + self.nak_rdata_ivl
    }

    /// Doubles with each try, so that a source that has become slower is soon given its time.
    fn measured(&self, tries: u32) -> Duration {
        self.estimate.map_or(Duration::MAX, |estimate| {
            let wait = (estimate.mean + estimate.deviation * 4).max(SHORTEST);
            wait.saturating_mul(1 << tries.min(16))
        })
    }
}

fn stretched(ivl: Duration, tries: u32) -> Duration {
    ivl * (1 << (tries / RETRIES_PER_DOUBLING).min(DOUBLINGS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn waits() -> Waits {
        Waits::new(&ReceiverConfig {
            nak_rpt_ivl: ms(20),
            nak_rdata_ivl: ms(30),
            ..ReceiverConfig::default()
        })
    }

    #[test]
    fn without_a_measurement_the_configured_intervals_hold_and_stretch() {
        let waits = waits();
        assert_eq!((waits.rpt_ivl(0), waits.rdata_ivl(7)), (ms(20), ms(30)));
        let stretch = [7, 8, 16, 32, 1000].map(|n| waits.rpt_ivl(n));
        assert_eq!(stretch, [ms(20), ms(40), ms(80), ms(320), ms(320)]);
    }

    #[test]
    fn fast_repairs_shorten_the_first_tries_only() {
        let mut waits = waits();
        for _ in 0..50 {
            waits.on_repair(Duration::from_micros(300));
        }
        let tries: Vec<_> = (0..6).map(|n| waits.rdata_ivl(n)).collect();
        assert_eq!(tries, [ms(5), ms(10), ms(20), ms(30), ms(30), ms(30)]);
        assert_eq!(waits.rdata_ivl(8), ms(60));
    }

    #[test]
    fn slow_or_uneven_repairs_lengthen_them_again() {
        let mut waits = waits();
        waits.on_repair(ms(4));
        assert_eq!(waits.rdata_ivl(0), ms(12), "4 + 4 x 2");
        for _ in 0..50 {
            waits.on_repair(ms(200));
        }
        assert_eq!(waits.rdata_ivl(0), ms(30), "never beyond the configuration");
    }
}
