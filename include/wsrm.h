/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Windows' spellings of the PGM socket interface, for programs written against wsrm.h.
 *
 * Values, members and layouts are those of 64-bit Windows: ULONG is 32 bits wide here too, which
 * `typedef unsigned long ULONG` on 64-bit Linux is not. The structures below and those of
 * <linux/pgm.h> have the same layout. A program that brings its own Windows types defines
 * WSRM_NO_TYPES before including this file.
 */
#ifndef _WSRM_H
#define _WSRM_H

#include <linux/pgm.h>

#if !defined(WSRM_NO_TYPES) && !defined(_WINDEF_) && !defined(_WINDEF_H) && \
    !defined(_MINWINDEF_) && !defined(_BASETSD_H_)
typedef uint8_t UCHAR;
typedef uint8_t BOOLEAN; /* 8 bits: not BOOL */
typedef uint16_t USHORT;
typedef uint32_t ULONG;
typedef uint64_t ULONGLONG;
#endif

#define MAX_MCAST_TTL 255

#define SENDER_DEFAULT_RATE_KBITS_PER_SEC 56
#define SENDER_DEFAULT_WINDOW_SIZE_BYTES (10 * 1000 * 1000)
#define SENDER_DEFAULT_WINDOW_ADV_PERCENTAGE 15
#define MAX_WINDOW_INCREMENT_PERCENTAGE 25
#define SENDER_DEFAULT_LATE_JOINER_PERCENTAGE 0
#define SENDER_MAX_LATE_JOINER_PERCENTAGE 75
#define BITS_PER_BYTE 8
#define LOG2_BITS_PER_BYTE 3

/* RM_SENDER_WINDOW_ADVANCE_METHOD */
typedef enum eWINDOW_ADVANCE_METHOD {
    E_WINDOW_ADVANCE_BY_TIME = 1,
    E_WINDOW_USE_AS_DATA_CACHE
} eWINDOW_ADVANCE_METHOD;

/* RM_RATE_WINDOW_SIZE: struct pgm_send_window */
typedef struct _RM_SEND_WINDOW {
    uint32_t RateKbitsPerSec;
    uint32_t WindowSizeInMSecs;
    uint32_t WindowSizeInBytes;
} RM_SEND_WINDOW;

/* RM_USE_FEC: struct pgm_fec_info */
typedef struct _RM_FEC_INFO {
    uint16_t FECBlockSize;
    uint16_t FECProActivePackets;
    uint8_t FECGroupSize;
    uint8_t fFECOnDemandParityEnabled;
} RM_FEC_INFO;

/* RM_SENDER_STATISTICS: struct pgm_sender_stats */
typedef struct _RM_SENDER_STATS {
    uint64_t DataBytesSent;
    uint64_t TotalBytesSent;
    uint64_t NaksReceived;
    uint64_t NaksReceivedTooLate;
    uint64_t NumOutstandingNaks;
    uint64_t NumNaksAfterRData;
    uint64_t RepairPacketsSent;
    uint64_t BufferSpaceAvailable;
    uint64_t TrailingEdgeSeqId;
    uint64_t LeadingEdgeSeqId;
    uint64_t RateKBitsPerSecOverall;
    uint64_t RateKBitsPerSecLast;
    uint64_t TotalODataPacketsSent;
} RM_SENDER_STATS;

/* RM_RECEIVER_STATISTICS: struct pgm_receiver_stats */
typedef struct _RM_RECEIVER_STATS {
    uint64_t NumODataPacketsReceived;
    uint64_t NumRDataPacketsReceived;
    uint64_t NumDuplicateDataPackets;
    uint64_t DataBytesReceived;
    uint64_t TotalBytesReceived;
    uint64_t RateKBitsPerSecOverall;
    uint64_t RateKBitsPerSecLast;
    uint64_t TrailingEdgeSeqId;
    uint64_t LeadingEdgeSeqId;
    uint64_t AverageSequencesInWindow;
    uint64_t MinSequencesInWindow;
    uint64_t MaxSequencesInWindow;
    uint64_t FirstNakSequenceNumber;
    uint64_t NumPendingNaks;
    uint64_t NumOutstandingNaks;
    uint64_t NumDataPacketsBuffered;
    uint64_t TotalSelectiveNaksSent;
    uint64_t TotalParityNaksSent;
} RM_RECEIVER_STATS;

PGM_ASSERT_SIZE(RM_SEND_WINDOW, RM_SEND_WINDOW, 12);
PGM_ASSERT_OFFSET(RM_SEND_WINDOW, RM_SEND_WINDOW, RateKbitsPerSec, 0);
PGM_ASSERT_OFFSET(RM_SEND_WINDOW, RM_SEND_WINDOW, WindowSizeInMSecs, 4);
PGM_ASSERT_OFFSET(RM_SEND_WINDOW, RM_SEND_WINDOW, WindowSizeInBytes, 8);

PGM_ASSERT_SIZE(RM_FEC_INFO, RM_FEC_INFO, 6);
PGM_ASSERT_OFFSET(RM_FEC_INFO, RM_FEC_INFO, FECBlockSize, 0);
PGM_ASSERT_OFFSET(RM_FEC_INFO, RM_FEC_INFO, FECProActivePackets, 2);
PGM_ASSERT_OFFSET(RM_FEC_INFO, RM_FEC_INFO, FECGroupSize, 4);
PGM_ASSERT_OFFSET(RM_FEC_INFO, RM_FEC_INFO, fFECOnDemandParityEnabled, 5);

PGM_ASSERT_SIZE(RM_SENDER_STATS, RM_SENDER_STATS, 104);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, DataBytesSent, 0);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, TotalBytesSent, 8);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, NaksReceived, 16);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, NaksReceivedTooLate, 24);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, NumOutstandingNaks, 32);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, NumNaksAfterRData, 40);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, RepairPacketsSent, 48);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, BufferSpaceAvailable, 56);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, TrailingEdgeSeqId, 64);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, LeadingEdgeSeqId, 72);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, RateKBitsPerSecOverall, 80);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, RateKBitsPerSecLast, 88);
PGM_ASSERT_OFFSET(RM_SENDER_STATS, RM_SENDER_STATS, TotalODataPacketsSent, 96);

PGM_ASSERT_SIZE(RM_RECEIVER_STATS, RM_RECEIVER_STATS, 144);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, NumODataPacketsReceived, 0);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, NumRDataPacketsReceived, 8);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, NumDuplicateDataPackets, 16);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, DataBytesReceived, 24);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, TotalBytesReceived, 32);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, RateKBitsPerSecOverall, 40);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, RateKBitsPerSecLast, 48);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, TrailingEdgeSeqId, 56);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, LeadingEdgeSeqId, 64);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, AverageSequencesInWindow, 72);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, MinSequencesInWindow, 80);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, MaxSequencesInWindow, 88);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, FirstNakSequenceNumber, 96);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, NumPendingNaks, 104);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, NumOutstandingNaks, 112);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, NumDataPacketsBuffered, 120);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, TotalSelectiveNaksSent, 128);
PGM_ASSERT_OFFSET(RM_RECEIVER_STATS, RM_RECEIVER_STATS, TotalParityNaksSent, 136);

#endif /* _WSRM_H */
