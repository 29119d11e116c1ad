/*
 * Receive the file that `send` multicasts: recv GROUP PORT FILE [udp|native]
 *
 * Plain sockets, linked to nothing but libc; run under the preload library.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/pgm.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static char buffer[1 << 20];
    struct sockaddr_in group = {.sin_family = AF_INET}, source;
    struct pgm_receiver_stats stats;
    struct timeval patience = {30, 0};
    socklen_t len = sizeof(source);
    unsigned long long bytes = 0, messages = 0;
    ssize_t n;

    if (argc < 4 || inet_pton(AF_INET, argv[1], &group.sin_addr) != 1) {
        fprintf(stderr, "usage: recv GROUP PORT FILE [udp|native]\n");
        return 2;
    }
    group.sin_port = htons((uint16_t)atoi(argv[2]));
    FILE *file = fopen(argv[3], "wb");
    if (file == NULL)
        die(argv[3]);
    int native = argc > 4 && strcmp(argv[4], "native") == 0;

    int listener = socket(AF_INET, SOCK_RDM, native ? IPPROTO_PGM : IPPROTO_UDP);
    if (listener == -1)
        die("socket");
    if (bind(listener, (struct sockaddr *)&group, sizeof(group)) != 0)
        die("bind");
    if (listen(listener, 1) != 0)
        die("listen");
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    fprintf(stderr, "listening on %s:%s\n", argv[1], argv[2]);

    int fd = accept(listener, (struct sockaddr *)&source, &len);
    if (fd == -1)
        die("accept");
    fprintf(stderr, "session from %s:%d\n", inet_ntoa(source.sin_addr), ntohs(source.sin_port));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    double start = now();
    while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
        if (fwrite(buffer, 1, (size_t)n, file) != (size_t)n)
            die(argv[3]);
        bytes += (unsigned long long)n;
        messages++;
    }
    if (n == -1)
        die("recv");
    double seconds = now() - start;
    len = sizeof(stats);
    if (getsockopt(fd, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats, &len) != 0)
        die("RM_RECEIVER_STATISTICS");
    printf("bytes=%llu messages=%llu mbits=%.1f odata=%llu naks=%llu repairs=%llu duplicates=%llu\n",
           bytes, messages, (double)bytes * 8 / 1e6 / seconds,
           (unsigned long long)stats.num_odata_packets_received,
           (unsigned long long)stats.total_selective_naks_sent,
           (unsigned long long)stats.num_rdata_packets_received,
           (unsigned long long)stats.num_duplicate_data_packets);
    close(fd);
    close(listener);
    return fclose(file) == 0 ? 0 : 1;
}
