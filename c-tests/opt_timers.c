/*
 * PGM_SPM_TIMERS and PGM_NAK_TIMERS take effect: a sender speaks as often as it is told, and a receiver
 * that is told to ask rarely gives a silent sender up soon.
 */
/* c-tests: proto=17 time=60 */
#include "check.h"

enum { SPM = 0, SPMS = 30, SIZE = 1000 };

static void set(int fd, int option, const void *value, socklen_t len)
{
    OK(setsockopt(fd, IPPROTO_PGM, option, value, len));
}

/* By default a second passes between SPMs; told otherwise, thirty need less than ten seconds. */
static void spms(void)
{
    struct pgm_spm_timers often = {50, 50, 50}, bad = {50, 50, 49}, zero = {0, 50, 50};
    struct sockaddr_in a = group(1), to = a;
    struct ip_mreq request = {a.sin_addr, {htonl(INADDR_LOOPBACK)}};
    struct pgm_udp_encap ports;
    socklen_t len = sizeof(ports);
    unsigned char packet[2000];
    int seen = (int)OK(socket(AF_INET, SOCK_DGRAM, 0)), tx = pgm_socket(0), on = 1, count = 0;

    OK(getsockopt(tx, IPPROTO_PGM, PGM_UDP_ENCAP, &ports, &len));
    to.sin_port = htons(ports.multicast);
    OK(setsockopt(seen, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
    OK(bind(seen, SA(to), sizeof(to)));
    FAILS(setsockopt(tx, IPPROTO_PGM, PGM_SPM_TIMERS, &bad, sizeof(bad)), EINVAL);
    FAILS(setsockopt(tx, IPPROTO_PGM, PGM_SPM_TIMERS, &zero, sizeof(zero)), EINVAL);
    set(tx, PGM_SPM_TIMERS, &often, sizeof(often));
    OK(connect(tx, SA(a), sizeof(a)));
    /* In its first second a sender speaks more often than it is told. */
    sleep_ms(2000);
    OK(setsockopt(seen, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)));
    for (long long start = now_ms(); count < SPMS;) {
        CHECK(now_ms() - start < 10000);
        if (ready(seen, POLLIN, 1000) == 0)
            continue;
        if (recv(seen, packet, sizeof(packet), 0) > 4 && packet[4] == SPM)
            count++;
    }
    OK(close(tx));
    OK(close(seen));
}

static void transmit(void *arg)
{
    char message[SIZE];
    int fd = sender(0);

    (void)arg;
    for (uint32_t i = 0;; i++) {
        fill(message, SIZE, i);
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
}

/* Stop a sender while repairs are due: by default that takes ten seconds to notice. */
static void naks(pid_t pid)
{
    struct pgm_nak_timers soon = {1, 1, 1, 2, 2}, never = {1, 1, 1, 0, 2}, zero = {1, 0, 1, 2, 2};
    struct sockaddr_in a = group(0);
    char message[SIZE + 1];
    int rx = pgm_socket(0);
    ssize_t n;

    FAILS(setsockopt(rx, IPPROTO_PGM, PGM_NAK_TIMERS, &never, sizeof(never)), EINVAL);
    FAILS(setsockopt(rx, IPPROTO_PGM, PGM_NAK_TIMERS, &zero, sizeof(zero)), EINVAL);
    set(rx, PGM_NAK_TIMERS, &soon, sizeof(soon));
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 5));
    int fd = session(rx);
    OK(kill(pid, SIGSTOP));
    long long start = now_ms();
    while ((n = recv(fd, message, sizeof(message), 0)) > 0)
        EQUAL(n, SIZE);
    EQUAL(n, -1);
    EQUAL(errno, ECONNRESET);
    printf("given up after %lld ms\n", now_ms() - start);
    CHECK(now_ms() - start < 6000);
    OK(kill(pid, SIGKILL));
}

int main(void)
{
    begin(50);
    pid_t pid = child(50, transmit, NULL);
    setenv("PGM_FAULT_LOSS", "30%", 1);
    naks(pid);
    spms();
    return 0;
}
