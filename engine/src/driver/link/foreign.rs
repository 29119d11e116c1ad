//! TPDUs for other processes of this host (design D6), on their way from the endpoint to the carrier.

use crate::driver::carrier::Carrier;
use crate::num::Tsi;
use std::net::Ipv4Addr;

/// TPDUs of one batch that belong to other processes of this host.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    octets: Vec<u8>,
    packets: Vec<(Tsi, Ipv4Addr, usize)>,
}

impl Foreign {
    pub(super) fn push(&mut self, tsi: Tsi, tpdu: &[u8], from: Ipv4Addr) {
        self.octets.extend_from_slice(tpdu);
        self.packets.push((tsi, from, tpdu.len()));
    }

    /// Hand everything over; empty afterwards, with its capacity.
    pub(super) fn forward(&mut self, carrier: &mut Carrier) {
        let mut rest = self.octets.as_slice();
        for (tsi, from, len) in self.packets.drain(..) {
            let (tpdu, others) = rest.split_at(len);
            carrier.forward(tsi, tpdu, from);
            rest = others;
        }
        self.octets.clear();
    }
}
