/*
 * Multicast a file: send GROUP PORT FILE [udp|native] [MBIT/S]
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 32 * 1024 };

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

/* A bar that is redrawn on a terminal, a line every tenth otherwise. */
static void progress(unsigned long long done, unsigned long long total, double start)
{
    static int shown = 0;
    int terminal = isatty(STDERR_FILENO), percent = total ? (int)(done * 100 / total) : 100;
    double seconds = now() - start;

    if (percent == shown || (!terminal && percent / 10 == shown / 10))
        return;
    shown = percent;
    fprintf(stderr, "%s  sent %3d %%  %7.1f MiB  %6.1f Mbit/s%s", terminal ? "\r" : "", percent,
            (double)done / (1 << 20), seconds > 0 ? (double)done * 8 / 1e6 / seconds : 0,
            terminal && percent < 100 ? "" : "\n");
}

int main(int argc, char **argv)
{
    static char buffer[MESSAGE];
    struct sockaddr_in group = {.sin_family = AF_INET};
    struct pgm_send_window window = {0, 0, 20 * 1000 * 1000};
    struct pgm_sender_stats stats;
    socklen_t len = sizeof(stats);
    unsigned long long bytes = 0, messages = 0;
    struct stat file_stat;
    size_t n;

    if (argc < 4 || inet_pton(AF_INET, argv[1], &group.sin_addr) != 1) {
        fprintf(stderr, "usage: send GROUP PORT FILE [udp|native] [MBIT/S]\n");
        return 2;
    }
    group.sin_port = htons((uint16_t)atoi(argv[2]));
    FILE *file = fopen(argv[3], "rb");
    if (file == NULL || fstat(fileno(file), &file_stat) != 0)
        die(argv[3]);
    int native = argc > 4 && strcmp(argv[4], "native") == 0;
    window.rate_kbits_per_sec = (argc > 5 ? (uint32_t)atoi(argv[5]) : 100) * 1000;

    int fd = socket(AF_INET, SOCK_RDM, native ? IPPROTO_PGM : IPPROTO_UDP);
    if (fd == -1)
        die("socket");
    if (setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)) != 0)
        die("RM_RATE_WINDOW_SIZE");
    if (connect(fd, (struct sockaddr *)&group, sizeof(group)) != 0)
        die("connect");

    double start = now();
    while ((n = fread(buffer, 1, sizeof(buffer), file)) > 0) {
        if (send(fd, buffer, n, 0) != (ssize_t)n)
            die("send");
        bytes += n;
        messages++;
        progress(bytes, (unsigned long long)file_stat.st_size, start);
    }
    if (ferror(file))
        die(argv[3]);
    /* The end of the stream; repairs are served until the receivers have everything. */
    if (shutdown(fd, SHUT_WR) != 0)
        die("shutdown");
    double seconds = now() - start;
    sleep(1); /* most of the repairs asked for at the end are in the counters then */
    if (getsockopt(fd, IPPROTO_PGM, RM_SENDER_STATISTICS, &stats, &len) != 0)
        die("RM_SENDER_STATISTICS");
    printf("bytes=%llu messages=%llu mbits=%.1f odata=%llu naks=%llu repairs=%llu\n", bytes, messages,
           (double)bytes * 8 / 1e6 / seconds, (unsigned long long)stats.total_odata_packets_sent,
           (unsigned long long)stats.naks_received, (unsigned long long)stats.repair_packets_sent);
    return close(fd) == 0 ? 0 : 1;
}
