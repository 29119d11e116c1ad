//! Counters of sources, sessions and the endpoint; 64-bit, monotonic unless said.
//!
//! Names follow `wsrm.h` (RM_SENDER_STATS, RM_RECEIVER_STATS) where it has one, the PGM MIB elsewhere.

/// Counters of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// APDU octets first sent (DataBytesSent).
    pub data_bytes_sent: u64,
    /// All TPDU octets: SPM + ODATA + RDATA + NCF (TotalBytesSent).
    pub total_bytes_sent: u64,
    /// APDUs accepted.
    pub messages_sent: u64,
    /// NAK packets received.
    pub naks_received: u64,
    /// Those of them that ask for parity, where it is offered.
    pub parity_naks_received: u64,
    /// SQNs asked for that were already behind the trailing edge.
    pub naks_too_late: u64,
    /// NAKs not answered because they are not for us (NLAs), ask for parity that is not offered, or for an SQN
    /// not sent yet.
    pub naks_ignored: u64,
    /// Gauge: SQNs waiting for their RDATA.
    pub outstanding_naks: u64,
    /// SQNs asked for again shortly after their RDATA.
    pub naks_after_rdata: u64,
    /// Null NAKs received.
    pub nnaks_received: u64,
    /// RDATA sent, on-demand parity included (RepairPacketsSent).
    pub rdata_sent: u64,
    /// On-demand parity sent.
    pub parity_rdata_sent: u64,
    /// NCF sent.
    pub ncfs_sent: u64,
    /// SPM sent.
    pub spms_sent: u64,
    /// SPMRs received.
    pub spmrs_received: u64,
    /// NCFs sent by unicast, to those whom multicast seems not to reach.
    pub unicast_ncfs_sent: u64,
    /// POLLs sent.
    pub polls_sent: u64,
    /// POLRs that counted.
    pub polrs_received: u64,
    /// POLRs to no open poll, or of a host that had replied.
    pub polrs_ignored: u64,
    /// Gauge: receivers (and network elements) one hop away, as polls estimate; 0 if never polled.
    pub population: u64,
    /// ODATA sent, pro-active parity included (TotalODataPacketsSent).
    pub odata_sent: u64,
    /// Pro-active parity sent.
    pub parity_odata_sent: u64,
    /// Gauge: free octets of the window.
    pub buffer_available: u64,
    /// Gauge: trailing edge SQN.
    pub trail: u64,
    /// Gauge: leading edge SQN.
    pub lead: u64,
    /// Average rate since the start, kbit/s.
    pub rate_kbits_overall: u64,
    /// Rate over the last second or so, kbit/s.
    pub rate_kbits_last: u64,
    /// PGMCC: ACKs received.
    pub acks_received: u64,
    /// PGMCC: ACKs of those that are not the acker, or cannot be true.
    pub acks_ignored: u64,
    /// PGMCC: times a receiver became the acker.
    pub ackers_elected: u64,
    /// PGMCC: times no ACK came.
    pub cc_timeouts: u64,
    /// Gauge, PGMCC: window W, packets.
    pub cc_window: u64,
    /// Gauge, OPT_CR: loss of the worst receiver by the last report, 65535 = 100 %.
    pub worst_loss: u64,
}

/// Counters of one receiver session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// ODATA received, duplicates included.
    pub odata_received: u64,
    /// RDATA received, duplicates included.
    pub rdata_received: u64,
    /// Data packets already held or already delivered.
    pub duplicates: u64,
    /// APDU octets handed to the reader.
    pub data_bytes_received: u64,
    /// All TPDU octets: SPM + ODATA + RDATA.
    pub total_bytes_received: u64,
    /// APDUs handed to the reader.
    pub messages_received: u64,
    /// Average rate since the start, kbit/s.
    pub rate_kbits_overall: u64,
    /// Rate over the last second or so, kbit/s.
    pub rate_kbits_last: u64,
    /// Gauge: oldest SQN in the receive window.
    pub trail: u64,
    /// Gauge: newest SQN in the receive window.
    pub lead: u64,
    /// Average SQNs in the window.
    pub average_in_window: u64,
    /// Least SQNs in the window.
    pub min_in_window: u64,
    /// Most SQNs in the window.
    pub max_in_window: u64,
    /// Gauge: first SQN with an outstanding NAK, 0 if none.
    pub first_nak: u64,
    /// Gauge: SQNs in back-off or waiting for an NCF.
    pub pending_naks: u64,
    /// Gauge: SQNs waiting for RDATA.
    pub outstanding_naks: u64,
    /// Gauge: packets buffered, not yet read.
    pub packets_buffered: u64,
    /// NAK packets sent.
    pub naks_sent: u64,
    /// SQNs asked for, repeats included (TotalSelectiveNaksSent).
    pub selective_naks_sent: u64,
    /// Transmission groups asked for parity, repeats included (TotalParityNaksSent).
    pub parity_naks_sent: u64,
    /// Parity packets received.
    pub parity_received: u64,
    /// Of these, useless: of a group that is whole, received before, or before the SPM that says what
    /// groups are.
    pub parity_unneeded: u64,
    /// Data packets recovered by parity.
    pub recovered_by_parity: u64,
    /// SQNs whose NAK another receiver's NAK or NCF made needless.
    pub naks_suppressed: u64,
    /// PGMCC: ACKs sent.
    pub acks_sent: u64,
    /// NCF received.
    pub ncfs_received: u64,
    /// SPM received.
    pub spms_received: u64,
    /// SQNs lost for good because the source's window moved on.
    pub lost_window_advanced: u64,
    /// SQNs lost for good after NAK_NCF_RETRIES.
    pub lost_ncf_retries: u64,
    /// SQNs lost for good after NAK_DATA_RETRIES.
    pub lost_data_retries: u64,
    /// SQNs lost for good because a receiver that only listens asks for nothing.
    pub lost_unasked: u64,
    /// Gaps in the data the reader was told of, where the session goes on after loss.
    pub loss_gaps: u64,
    /// Data packets refused because the receive window or its budget was full.
    pub dropped_window_full: u64,
    /// Data packets with impossible fields (fragment options, SQNs out of the window).
    pub dropped_malformed: u64,
    /// POLLs received.
    pub polls_received: u64,
    /// POLRs sent, redirecting ones included.
    pub polrs_sent: u64,
    /// NAK packets sent to a local repairer (DLR) instead of the parent.
    pub naks_redirected: u64,
    /// Redirecting POLRs heeded.
    pub redirects_taken: u64,
    /// Redirecting POLRs not heeded: not asked for, of our own subnet, IPv6, of a DLR that failed.
    pub redirects_ignored: u64,
    /// As a DLR: NAKs directed to us.
    pub dlr_naks_received: u64,
    /// As a DLR: NAKs passed on to the parent, since we lack the data.
    pub dlr_naks_forwarded: u64,
    /// As a DLR: NNAKs sent.
    pub dlr_nnaks_sent: u64,
    /// As a DLR: RDATA sent.
    pub dlr_rdata_sent: u64,
}

/// Counters of an endpoint: what never reached a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// TPDUs handed in.
    pub tpdus_received: u64,
    /// Refused by the parser, by reason in the order of `WireError`.
    pub malformed: [u64; 8],
    /// For ports or sessions nobody here has.
    pub foreign: u64,
    /// New peers refused for want of room.
    pub peers_refused: u64,
    /// From an address other than the session's source.
    pub spoofed: u64,
    /// Data of sessions that hold more than their share while memory is short.
    pub over_budget: u64,
    /// What sessions could not use: impossible fields, or no room in the window.
    pub unusable: u64,
    /// Of sessions that are over here.
    pub late: u64,
    /// NAKs that sources did not answer: for others, too late, or for what was never sent.
    pub naks_refused: u64,
    /// What else receivers sent to sources: SPMR, NNAK, POLR, ACKs that tell nothing.
    pub other_requests: u64,
    /// Gauge: sources it keeps a session of.
    pub peers: u64,
    /// Gauge: octets that sessions hold, here and in endpoints that share the budget.
    pub received_held: u64,
    /// Gauge: octets that sources hold, likewise.
    pub sent_held: u64,
}
