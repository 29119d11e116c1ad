//! The packets of a source, as they go: NCF, SPM, RDATA, ODATA (RFC 3208 §8).

use super::cc::Cc;
use super::parity::Parity;
use super::repair::SqnList;
use super::txw::Entry;
use super::{Source, SourceConfig};
use crate::num::Sqn;
use crate::wire::{Body, Data, Nak, Options, Spm, Tpdu, Window};
use std::net::Ipv4Addr;
use std::time::Instant;

impl Source {
    /// An NCF for these; `None` for none.
    pub(super) fn ncf(&self, sqns: &SqnList) -> Option<Body> {
        let (first, rest) = sqns.split_first()?;
        Some(Body::Ncf(Nak {
            sqn: *first,
            list: rest.iter().copied().collect(),
            source: self.config.nla.into(),
            group: self.config.group.into(),
        }))
    }

    /// RFC 3208 §8.3 (S-15): what the NAK said, downstream.
    pub(super) fn emit_ncf(
        &mut self,
        now: Instant,
        mark: Mark,
        sqns: &SqnList,
        out: &mut Vec<u8>,
    ) -> Option<Emitted> {
        let body = self.ncf(sqns)?;
        let options = Options {
            nak_bo_ivl: Some(self.nak_bo_ivl()),
            ..Options::default()
        };
        let len = emit(&self.config, mark, body, options, &[], out);
        self.repairs.on_ncf_sent(now, len);
        self.stats.ncfs_sent += 1;
        self.on_emitted(now, len);
        Some(Emitted::to_group(len))
    }

    /// RFC 3208 §8.1 (S-12, S-13).
    pub(super) fn emit_spm(&mut self, now: Instant, out: &mut Vec<u8>) -> Emitted {
        let body = Body::Spm(Spm {
            spm_sqn: self.spm_sqn,
            window: Some(Window {
                trail: self.txw.trail(),
                lead: self.txw.lead(),
            }),
            path: self.config.nla.into(),
        });
        let options = Options {
            join: self.join(now),
            nak_bo_ivl: Some(self.nak_bo_ivl()),
            nak_bo_rng: self.nak_bo_rng(),
            fin: self.fin,
            rst: self.rst.filter(|_| self.fin_since.is_some()),
            parity_prm: self.parity.as_ref().map(Parity::prm),
            // RFC 3208 §11.4 (F-18)
            curr_tgsize: self.txw.short_group_of(self.txw.lead()),
            crqst: self.cc.as_ref().map(Cc::wanted_reports),
            ..Options::default()
        };
        let len = emit(&self.config, Mark::default(), body, options, &[], out);
        self.spm_sqn = self.spm_sqn.next();
        self.spm.on_sent(now);
        self.stats.spms_sent += 1;
        self.on_emitted(now, len);
        Emitted::to_group(len)
    }

    /// The next repair: packets asked for by SQN and parity in turn.
    pub(super) fn emit_repair(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        if self.rdata_run.is_multiple_of(2) {
            self.emit_rdata(now, out)
                .or_else(|| self.emit_on_demand(now, out))
        } else {
            self.emit_on_demand(now, out)
                .or_else(|| self.emit_rdata(now, out))
        }
    }

    fn emit_rdata(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        let sqn = self.repairs.take_rdata(now, &mut self.txw)?;
        // A queued repair holds the trailing edge, so the packet is there.
        let entry = self.txw.get(sqn)?;
        // RFC 3208 §8.2 (S-17, S-19): the trail is today's, not the original's.
        let body = Body::Rdata(Data {
            sqn,
            trail: self.txw.trail(),
        });
        let options = Options {
            // RFC 3208 §11.4 (F-19): also instead of data that there never was, which a receiver asks for that
            // does not know the size of the group. One without FEC gets an empty packet, and goes on.
            curr_tgsize: self.txw.short_group_of(sqn),
            ..entry.options()
        };
        let len = emit(
            &self.config,
            Mark::default(),
            body,
            options,
            &entry.tsdu,
            out,
        );
        self.rdata_run += 1;
        self.stats.rdata_sent += 1;
        if let Some(cc) = &mut self.cc {
            cc.on_rdata_sent(now);
        }
        self.on_data_emitted(now, len);
        Some(Emitted::to_group(len))
    }

    pub(super) fn emit_odata(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        self.rdata_run = 0;
        let sqn = self.txw.next();
        let cut = self.queue.peek(sqn, self.is_ending())?;
        if !self.txw.make_room(now, cut.size) {
            return None;
        }
        let entry = Entry {
            tsdu: self.queue.take(&cut)?,
            fragment: cut.fragment,
            syn: cut.syn,
            fin: cut.fin,
            size: cut.size as u32,
            sent: now,
            repair: None,
        };
        // RFC 3208 §3.6.2 (S-26): the trail in every data packet is the current one.
        let body = Body::Odata(Data {
            sqn,
            trail: self.txw.trail(),
        });
        self.txw.push(entry);
        if let Some(parity) = &mut self.parity {
            parity.on_data(now, &mut self.txw, cut.last);
        }
        let entry = self.txw.get(sqn)?;
        let options = Options {
            // RFC 3208 §11.4 (F-19)
            curr_tgsize: self.txw.short_group_of(sqn),
            pgmcc_data: self.cc.as_ref().map(|cc| cc.data_option(now)),
            ..entry.options()
        };
        let len = emit(
            &self.config,
            Mark::default(),
            body,
            options,
            &entry.tsdu,
            out,
        );
        self.stats.odata_sent += 1;
        if let Some(cc) = &mut self.cc {
            cc.on_odata_sent(now, sqn);
        }
        self.stats.data_bytes_sent += entry.tsdu.len() as u64;
        self.on_data_emitted(now, len);
        self.begin_fin(now);
        Some(Emitted {
            router_alert: false,
            ..Emitted::to_group(len)
        })
    }

    pub(super) fn on_data_emitted(&mut self, now: Instant, len: usize) {
        self.spm.on_data(now);
        self.active = now;
        self.on_emitted(now, len);
    }

    pub(super) fn on_emitted(&mut self, now: Instant, len: usize) {
        self.rate.charge(now, len);
        self.meter.record(now, len);
        self.stats.total_bytes_sent += len as u64;
    }

    /// OPT_JOIN (RFC 3208 §9.4): whoever hears an SPM of the start gets everything, a late joiner what
    /// the option allows.
    fn join(&self, now: Instant) -> Option<Sqn> {
        let first = self.config.first_sqn;
        if self.spm.is_start(now) && self.txw.trail() == first {
            return Some(first);
        }
        let share = u64::from(self.txw.len()) * u64::from(self.config.late_join_percent) / 100;
        // At most the window's length, which is 32 bits.
        (share > 0).then(|| self.txw.next().minus(share as u32))
    }
}

/// The bits of the Options octet that are no extension.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// OPT_PARITY.
    pub(super) parity: bool,
    /// OPT_VAR_PKTLEN.
    pub(super) var_pktlen: bool,
}

impl Mark {
    pub(super) const PARITY: Self = Self {
        parity: true,
        var_pktlen: false,
    };
}

/// Append one TPDU of this source; returns its length.
pub(super) fn emit(
    config: &SourceConfig,
    mark: Mark,
    body: Body,
    options: Options,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> usize {
    let before = out.len();
    let (sport, dport, gsi) = (config.tsi.sport, config.dport, config.tsi.gsi);
    Tpdu {
        sport,
        dport,
        gsi,
        parity: mark.parity,
        var_pktlen: mark.var_pktlen,
        body,
        options,
        payload,
    }
    .emit(out);
    out.len() - before
}

/// What `poll_transmit` appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Octets appended.
    pub len: usize,
    /// SPM, NCF, RDATA, POLL: wants IP Router Alert.
    pub router_alert: bool,
    /// The one it goes to, instead of the group.
    pub to_host: Option<Ipv4Addr>,
}

impl Emitted {
    /// To the group with Router Alert, as all but data.
    pub(super) fn to_group(len: usize) -> Self {
        Self {
            len,
            router_alert: true,
            to_host: None,
        }
    }
}
