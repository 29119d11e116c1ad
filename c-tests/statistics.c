/* RM_SENDER_STATISTICS and RM_RECEIVER_STATISTICS count what happened, under loss too. */
/* c-tests: variants=asan */
#include "check.h"

enum { MESSAGES = 2000, SIZE = 1000 };

static struct pgm_receiver_stats received(int fd)
{
    struct pgm_receiver_stats stats;
    socklen_t len = sizeof(stats);
    OK(getsockopt(fd, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats, &len));
    EQUAL(len, 144);
    return stats;
}

static struct pgm_sender_stats sent(int fd)
{
    struct pgm_sender_stats stats;
    socklen_t len = sizeof(stats);
    OK(getsockopt(fd, IPPROTO_PGM, RM_SENDER_STATISTICS, &stats, &len));
    EQUAL(len, 104);
    return stats;
}

int main(void)
{
    static char message[SIZE], buffer[SIZE + 1];

    begin(60);
    setenv("PGM_FAULT_LOSS", "5%", 1);
    int rx = listener(0), tx = sender(0);
    CHECK(sent(tx).buffer_space_available > 0);
    EQUAL(sent(tx).data_bytes_sent, 0);
    int fd = -1;
    for (int i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, (uint32_t)i);
        EQUAL(send(tx, message, SIZE, 0), SIZE);
        if (i == 0)
            fd = session(rx);
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), SIZE);
        CHECK(matches(buffer, SIZE, (uint32_t)i, 0));
    }
    struct pgm_sender_stats s = sent(tx);
    struct pgm_receiver_stats r = received(fd);

    EQUAL(s.data_bytes_sent, MESSAGES * SIZE);
    EQUAL(s.total_odata_packets_sent, MESSAGES);
    CHECK(s.total_bytes_sent > s.data_bytes_sent);
    EQUAL((uint32_t)(s.leading_edge_seq_id - s.trailing_edge_seq_id) < MESSAGES, 1);
    CHECK(s.rate_kbits_per_sec_overall > 0);
    /* 5 % of everything is dropped on arrival, so there were gaps and repairs. */
    CHECK(s.naks_received > 0);
    CHECK(s.repair_packets_sent > 0);
    EQUAL(r.data_bytes_received, MESSAGES * SIZE);
    CHECK(r.num_odata_packets_received < MESSAGES);
    CHECK(r.num_rdata_packets_received > 0);
    CHECK(r.num_odata_packets_received + r.num_rdata_packets_received -
              r.num_duplicate_data_packets == MESSAGES);
    CHECK(r.total_selective_naks_sent > 0);
    EQUAL(r.total_parity_naks_sent, 0);
    EQUAL(r.num_data_packets_buffered, 0);
    CHECK(r.total_bytes_received > r.data_bytes_received);
    EQUAL((uint32_t)r.leading_edge_seq_id, (uint32_t)s.leading_edge_seq_id);
    printf("%llu NAKs received, %llu repairs sent, %llu duplicates\n",
           (unsigned long long)s.naks_received, (unsigned long long)s.repair_packets_sent,
           (unsigned long long)r.num_duplicate_data_packets);
    return 0;
}
