/* statistics GROUP PORT: receive from one sender and tell how it went. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/pgm.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct sockaddr_in group = {.sin_family = AF_INET};
    struct pgm_receiver_stats stats;
    struct pgm_tsi tsi;
    socklen_t length = sizeof(tsi);
    static char message[65536];

    if (argc != 3 || inet_pton(AF_INET, argv[1], &group.sin_addr) != 1)
        return 2;
    group.sin_port = htons(atoi(argv[2]));
    int listener = socket(AF_INET, SOCK_RDM, IPPROTO_UDP);
    if (listener == -1 ||
        bind(listener, (struct sockaddr *)&group, sizeof(group)) == -1 ||
        listen(listener, 1) == -1) {
        perror("listen");
        return 1;
    }
    int session = accept(listener, NULL, NULL);
    if (session == -1 ||
        getsockopt(session, IPPROTO_PGM, PGM_TSI, &tsi, &length) == -1) {
        perror("session");
        return 1;
    }
    while (recv(session, message, sizeof(message), 0) > 0)
        continue;
    length = sizeof(stats);
    if (getsockopt(session, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats,
                   &length) == -1) {
        perror("RM_RECEIVER_STATISTICS");
        return 1;
    }
    printf("session %02x%02x%02x%02x%02x%02x.%u: ", tsi.gsi[0], tsi.gsi[1],
           tsi.gsi[2], tsi.gsi[3], tsi.gsi[4], tsi.gsi[5],
           (unsigned)tsi.sport);
    printf("%" PRIu64 " octets, %" PRIu64 " asked for again, %" PRIu64
           " repaired\n",
           stats.data_bytes_received, stats.total_selective_naks_sent,
           stats.num_rdata_packets_received);
    return 0;
}
