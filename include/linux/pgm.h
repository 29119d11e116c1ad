/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * PGM (RFC 3208 reliable multicast) as sockets: constants and structures.
 *
 *   socket(AF_INET, SOCK_RDM, IPPROTO_PGM)   PGM as IP protocol 113
 *   socket(AF_INET, SOCK_RDM, IPPROTO_UDP)   PGM in UDP, no privilege needed
 *
 * A sender calls connect(group, port) and send; a receiver calls bind(group, port), listen, accept
 * and recv. Options: setsockopt(fd, IPPROTO_PGM, RM_..., ...), also for PGM in UDP.
 *
 * Option numbers and layouts are those of Windows' wsrm.h, so one binary layout serves both; the
 * Windows spellings of types and members are in <wsrm.h>. All integers are in host byte order
 * unless said otherwise. C89, C++98 and everything later.
 */
#ifndef _LINUX_PGM_H
#define _LINUX_PGM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h> /* SOCK_RDM */

/* Protocol, and level of the options below. */
#ifndef IPPROTO_PGM
#define IPPROTO_PGM 113
#endif
#ifndef IPPROTO_RM
#define IPPROTO_RM IPPROTO_PGM
#endif

/*
 * Options. S: sender, before connect. R: receiver, before listen. "any": at any time.
 * The type is that of the value setsockopt or getsockopt points to.
 */
#define RM_OPTIONSBASE 1000
#define RM_RATE_WINDOW_SIZE 1001             /* S set get: struct pgm_send_window */
#define RM_SET_MESSAGE_BOUNDARY 1002         /* S set any: uint32_t, octets of the next message */
#define RM_FLUSHCACHE 1003                   /* not implemented, as on Windows */
#define RM_SENDER_WINDOW_ADVANCE_METHOD 1004 /* S set get: uint32_t, 1: by time */
#define RM_SENDER_STATISTICS 1005            /* S get any: struct pgm_sender_stats */
#define RM_LATEJOIN 1006                     /* S set get: uint32_t, 0..75 percent of the window */
#define RM_SET_SEND_IF 1007                  /* S set get: IPv4 address, network byte order */
#define RM_ADD_RECEIVE_IF 1008               /* R set: IPv4 address, network byte order */
#define RM_DEL_RECEIVE_IF 1009               /* R set: IPv4 address, network byte order */
#define RM_SEND_WINDOW_ADV_RATE 1010         /* S set get: uint32_t, percent of the window */
#define RM_USE_FEC 1011                      /* S set get: struct pgm_fec_info */
#define RM_SET_MCAST_TTL 1012                /* S set get: uint32_t, 0..255 */
#define RM_RECEIVER_STATISTICS 1013          /* R get any: struct pgm_receiver_stats */
#define RM_HIGH_SPEED_INTRANET_OPT 1014      /* set get any: uint32_t boolean, a hint */

/*
 * Options that Windows does not have. Numbers from 1100 are ours.
 */
#define PGM_OPTIONSBASE 1100
#define PGM_LISTEN_ONLY 1100        /* R set get: uint32_t boolean, never ask for repairs */
#define PGM_UNORDERED 1101          /* R set get: uint32_t boolean, messages as they come */
#define PGM_CONTINUE_ON_LOSS 1102   /* R set get: uint32_t boolean, see struct pgm_gap */
#define PGM_UDP_ENCAP 1103          /* S R set get: struct pgm_udp_encap, before bind or connect */
#define PGM_TPDU_SIZE 1104          /* S set get: uint32_t, octets; 0: from the interface */
#define PGM_NAK_TIMERS 1105         /* R set get: struct pgm_nak_timers */
#define PGM_TSI 1106                /* get: struct pgm_tsi of a connected or accepted socket */
#define PGM_LINGER 1107             /* S set get: struct pgm_linger */
#define PGM_CONGESTION_CONTROL 1108 /* S set get: uint32_t, PGM_CC_... */
#define PGM_GAP 1109                /* type of a control message: struct pgm_gap */
#define PGM_SPM_TIMERS 1110         /* S set get: struct pgm_spm_timers */
#define PGM_RECEIVE_WINDOW 1111     /* R set get: struct pgm_receive_window */
#define PGM_COUNTERS 1112           /* S R get: struct pgm_counters, after connect or listen */

/* Modes of PGM_LINGER. */
#define PGM_LINGER_BACKGROUND 0 /* another process takes over when this one ends */
#define PGM_LINGER_BLOCK 1      /* the end of the process waits */
#define PGM_LINGER_OFF 2        /* what is not out when the process ends is lost */

/* Values of PGM_CONGESTION_CONTROL. */
#define PGM_CC_OFF 0   /* the fixed rate */
#define PGM_CC_PGMCC 1 /* below it, what the network takes to the slowest receiver */

/*
 * Rate and window of a sender (RM_RATE_WINDOW_SIZE). A member that is 0 was not given; the three
 * obey bytes = rate * msecs / 8, so any two make the third.
 */
struct pgm_send_window {
    uint32_t rate_kbits_per_sec; /* 1000 bit/s: ODATA, RDATA and SPM together */
    uint32_t window_size_in_msecs; /* how long sent data can be repaired */
    uint32_t window_size_in_bytes; /* how much of it */
};

/* Forward error correction of a sender (RM_USE_FEC). */
struct pgm_fec_info {
    uint16_t fec_block_size;        /* packets of a group, data and parity; at most 255 */
    uint16_t fec_proactive_packets; /* parity packets sent with every group */
    uint8_t fec_group_size;         /* data packets of a group: a power of two, 2..128 */
    uint8_t fec_on_demand_parity;   /* boolean: receivers may ask for parity */
};

/* What a sender did so far (RM_SENDER_STATISTICS). */
struct pgm_sender_stats {
    uint64_t data_bytes_sent;          /* octets of the program's messages */
    uint64_t total_bytes_sent;         /* octets of all packets: SPM, ODATA, RDATA */
    uint64_t naks_received;            /* NAK packets */
    uint64_t naks_received_too_late;   /* NAKs for data that had left the window */
    uint64_t num_outstanding_naks;     /* now: sequences asked for and not yet repaired */
    uint64_t num_naks_after_rdata;     /* NAKs that came although RDATA had been sent */
    uint64_t repair_packets_sent;      /* RDATA packets */
    uint64_t buffer_space_available;   /* now: free octets of the window */
    uint64_t trailing_edge_seq_id;     /* now: oldest sequence of the window */
    uint64_t leading_edge_seq_id;      /* now: newest sequence of the window */
    uint64_t rate_kbits_per_sec_overall; /* now: average rate since the session began */
    uint64_t rate_kbits_per_sec_last;  /* now: rate of about the last second */
    uint64_t total_odata_packets_sent; /* ODATA packets */
};

/* What a receiver's session did so far (RM_RECEIVER_STATISTICS). */
struct pgm_receiver_stats {
    uint64_t num_odata_packets_received; /* ODATA packets, duplicates included */
    uint64_t num_rdata_packets_received; /* RDATA packets, duplicates included */
    uint64_t num_duplicate_data_packets; /* of both, those that were not needed */
    uint64_t data_bytes_received;        /* octets of messages */
    uint64_t total_bytes_received;       /* octets of all packets: SPM, ODATA, RDATA */
    uint64_t rate_kbits_per_sec_overall; /* now: average rate since the session began */
    uint64_t rate_kbits_per_sec_last;    /* now: rate of about the last second */
    uint64_t trailing_edge_seq_id;       /* now: oldest sequence of the receive window */
    uint64_t leading_edge_seq_id;        /* now: newest sequence of the receive window */
    uint64_t average_sequences_in_window; /* sequences the window held, on average */
    uint64_t min_sequences_in_window;     /* at least */
    uint64_t max_sequences_in_window;     /* at most */
    uint64_t first_nak_sequence_number;  /* now: first sequence with an outstanding NAK */
    uint64_t num_pending_naks;           /* now: sequences waiting for an NCF */
    uint64_t num_outstanding_naks;       /* now: sequences waiting for RDATA */
    uint64_t num_data_packets_buffered;  /* now: packets not yet read */
    uint64_t total_selective_naks_sent;  /* sequences asked for, repeats included */
    uint64_t total_parity_naks_sent;     /* parity packets asked for */
};

/* UDP ports of PGM in UDP, host byte order (PGM_UDP_ENCAP). No effect on native PGM. */
struct pgm_udp_encap {
    uint16_t unicast;   /* NAKs and SPM requests */
    uint16_t multicast; /* everything sent to the group */
};

/* How a receiver asks for repairs (PGM_NAK_TIMERS): milliseconds and counts of RFC 3208. */
struct pgm_nak_timers {
    uint32_t nak_bo_ivl;       /* longest random wait before a NAK, until the sender says otherwise */
    uint32_t nak_rpt_ivl;      /* wait for the NCF */
    uint32_t nak_rdata_ivl;    /* wait for the RDATA after it */
    uint32_t nak_ncf_retries;  /* NAKs without NCF before the data counts as lost */
    uint32_t nak_data_retries; /* NCFs without RDATA before it does */
};

/* How often a sender says where it is (PGM_SPM_TIMERS): milliseconds. */
struct pgm_spm_timers {
    uint32_t ambient_spm_ivl; /* while there is nothing else to send */
    uint32_t ihb_min;         /* first heartbeat after data */
    uint32_t ihb_max;         /* last one; each is twice the one before */
};

/* What a receiver may hold for one sender (PGM_RECEIVE_WINDOW). */
struct pgm_receive_window {
    uint32_t sqns;     /* packets: a power of two, 64..16777216 */
    uint32_t bytes;    /* octets of data */
    uint32_t max_apdu; /* octets of the longest message; a longer one is a loss */
};

/* What came to a socket's ports, or by native PGM, and was not taken (PGM_COUNTERS). */
struct pgm_counters {
    uint64_t packets_received;         /* PGM packets, all the others below included */
    uint64_t malformed_length;         /* refused: shorter or longer than its fields say */
    uint64_t malformed_version;        /* refused: of another version */
    uint64_t malformed_type;           /* refused: of no known type */
    uint64_t malformed_checksum;       /* refused: damaged, the checksum is wrong */
    uint64_t malformed_no_checksum;    /* refused: data without a checksum */
    uint64_t malformed_option;         /* refused: options that no sender makes */
    uint64_t malformed_address_family; /* refused: an address that is neither IPv4 nor IPv6 */
    uint64_t malformed_window;         /* refused: a window that ends before it begins */
    uint64_t foreign;                  /* for ports or sessions that nobody here has */
    uint64_t spoofed;                  /* of a session, but not from its sender's address */
    uint64_t sources_refused;          /* of new senders that there was no room for */
    uint64_t over_budget;              /* data of sessions beyond their share while memory is short */
    uint64_t unusable;                 /* of sessions, with impossible fields or no room in the window */
    uint64_t late;                     /* of sessions that are over here */
    uint64_t naks_refused;             /* sequences asked for in vain: not there any more, or never */
    uint64_t other_requests;           /* SPM requests, null NAKs, answers to polls, useless ACKs */
    uint64_t sources;                  /* now: senders of which something is kept */
    uint64_t received_held;            /* now: octets that all sessions of the process hold */
    uint64_t sent_held;                /* now: octets that all senders of the process hold */
};

/* Name of a session (PGM_TSI): the same at the sender and at every receiver. */
struct pgm_tsi {
    uint8_t gsi[6]; /* of the sender's process, or of a bound sender */
    uint16_t sport; /* source port, host byte order */
};

/* What the end of a process means for its sender (PGM_LINGER). */
struct pgm_linger {
    uint32_t mode;        /* PGM_LINGER_... */
    uint32_t quiet_msecs; /* it is over when nobody asked for repairs for so long */
    uint32_t max_msecs;   /* and at the latest after so long */
};

/*
 * A gap in a session with PGM_CONTINUE_ON_LOSS: control message of recvmsg, level IPPROTO_PGM, type
 * PGM_GAP, with the first message after it.
 */
struct pgm_gap {
    uint32_t first_sqn; /* sequence number of the first packet that is lost */
    uint32_t count;     /* packets */
};

/* A declaration that compiles only if `cond` holds; `name` is unique in the translation unit. */
#if defined(__cplusplus) && __cplusplus >= 201103L
#define PGM_STATIC_ASSERT(name, cond) static_assert(cond, #name)
#elif !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define PGM_STATIC_ASSERT(name, cond) _Static_assert(cond, #name)
#else
#define PGM_STATIC_ASSERT(name, cond) typedef char pgm_assert_##name[(cond) ? 1 : -1]
#endif
#define PGM_ASSERT_SIZE(name, type, size) PGM_STATIC_ASSERT(size_##name, sizeof(type) == (size))
#define PGM_ASSERT_OFFSET(name, type, member, off) \
    PGM_STATIC_ASSERT(offset_##name##_##member, offsetof(type, member) == (off))

PGM_ASSERT_SIZE(send_window, struct pgm_send_window, 12);
PGM_ASSERT_OFFSET(send_window, struct pgm_send_window, rate_kbits_per_sec, 0);
PGM_ASSERT_OFFSET(send_window, struct pgm_send_window, window_size_in_msecs, 4);
PGM_ASSERT_OFFSET(send_window, struct pgm_send_window, window_size_in_bytes, 8);

PGM_ASSERT_SIZE(fec_info, struct pgm_fec_info, 6);
PGM_ASSERT_OFFSET(fec_info, struct pgm_fec_info, fec_block_size, 0);
PGM_ASSERT_OFFSET(fec_info, struct pgm_fec_info, fec_proactive_packets, 2);
PGM_ASSERT_OFFSET(fec_info, struct pgm_fec_info, fec_group_size, 4);
PGM_ASSERT_OFFSET(fec_info, struct pgm_fec_info, fec_on_demand_parity, 5);

PGM_ASSERT_SIZE(sender_stats, struct pgm_sender_stats, 104);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, data_bytes_sent, 0);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, total_bytes_sent, 8);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, naks_received, 16);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, naks_received_too_late, 24);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, num_outstanding_naks, 32);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, num_naks_after_rdata, 40);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, repair_packets_sent, 48);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, buffer_space_available, 56);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, trailing_edge_seq_id, 64);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, leading_edge_seq_id, 72);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, rate_kbits_per_sec_overall, 80);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, rate_kbits_per_sec_last, 88);
PGM_ASSERT_OFFSET(sender_stats, struct pgm_sender_stats, total_odata_packets_sent, 96);

PGM_ASSERT_SIZE(receiver_stats, struct pgm_receiver_stats, 144);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, num_odata_packets_received, 0);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, num_rdata_packets_received, 8);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, num_duplicate_data_packets, 16);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, data_bytes_received, 24);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, total_bytes_received, 32);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, rate_kbits_per_sec_overall, 40);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, rate_kbits_per_sec_last, 48);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, trailing_edge_seq_id, 56);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, leading_edge_seq_id, 64);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, average_sequences_in_window, 72);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, min_sequences_in_window, 80);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, max_sequences_in_window, 88);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, first_nak_sequence_number, 96);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, num_pending_naks, 104);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, num_outstanding_naks, 112);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, num_data_packets_buffered, 120);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, total_selective_naks_sent, 128);
PGM_ASSERT_OFFSET(receiver_stats, struct pgm_receiver_stats, total_parity_naks_sent, 136);

PGM_ASSERT_SIZE(udp_encap, struct pgm_udp_encap, 4);
PGM_ASSERT_OFFSET(udp_encap, struct pgm_udp_encap, unicast, 0);
PGM_ASSERT_OFFSET(udp_encap, struct pgm_udp_encap, multicast, 2);

PGM_ASSERT_SIZE(nak_timers, struct pgm_nak_timers, 20);
PGM_ASSERT_OFFSET(nak_timers, struct pgm_nak_timers, nak_bo_ivl, 0);
PGM_ASSERT_OFFSET(nak_timers, struct pgm_nak_timers, nak_rpt_ivl, 4);
PGM_ASSERT_OFFSET(nak_timers, struct pgm_nak_timers, nak_rdata_ivl, 8);
PGM_ASSERT_OFFSET(nak_timers, struct pgm_nak_timers, nak_ncf_retries, 12);
PGM_ASSERT_OFFSET(nak_timers, struct pgm_nak_timers, nak_data_retries, 16);

PGM_ASSERT_SIZE(spm_timers, struct pgm_spm_timers, 12);
PGM_ASSERT_OFFSET(spm_timers, struct pgm_spm_timers, ambient_spm_ivl, 0);
PGM_ASSERT_OFFSET(spm_timers, struct pgm_spm_timers, ihb_min, 4);
PGM_ASSERT_OFFSET(spm_timers, struct pgm_spm_timers, ihb_max, 8);

PGM_ASSERT_SIZE(receive_window, struct pgm_receive_window, 12);
PGM_ASSERT_OFFSET(receive_window, struct pgm_receive_window, sqns, 0);
PGM_ASSERT_OFFSET(receive_window, struct pgm_receive_window, bytes, 4);
PGM_ASSERT_OFFSET(receive_window, struct pgm_receive_window, max_apdu, 8);

PGM_ASSERT_SIZE(counters, struct pgm_counters, 160);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, packets_received, 0);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_length, 8);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_version, 16);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_type, 24);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_checksum, 32);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_no_checksum, 40);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_option, 48);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_address_family, 56);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, malformed_window, 64);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, foreign, 72);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, spoofed, 80);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, sources_refused, 88);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, over_budget, 96);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, unusable, 104);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, late, 112);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, naks_refused, 120);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, other_requests, 128);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, sources, 136);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, received_held, 144);
PGM_ASSERT_OFFSET(counters, struct pgm_counters, sent_held, 152);

PGM_ASSERT_SIZE(tsi, struct pgm_tsi, 8);
PGM_ASSERT_OFFSET(tsi, struct pgm_tsi, gsi, 0);
PGM_ASSERT_OFFSET(tsi, struct pgm_tsi, sport, 6);

PGM_ASSERT_SIZE(linger, struct pgm_linger, 12);
PGM_ASSERT_OFFSET(linger, struct pgm_linger, mode, 0);
PGM_ASSERT_OFFSET(linger, struct pgm_linger, quiet_msecs, 4);
PGM_ASSERT_OFFSET(linger, struct pgm_linger, max_msecs, 8);

PGM_ASSERT_SIZE(gap, struct pgm_gap, 8);
PGM_ASSERT_OFFSET(gap, struct pgm_gap, first_sqn, 0);
PGM_ASSERT_OFFSET(gap, struct pgm_gap, count, 4);

#endif /* _LINUX_PGM_H */
