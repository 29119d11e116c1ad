/*
 * PGM_LISTEN_ONLY and PGM_UNORDERED where packets are lost on the way: who only listens asks for nothing
 * and misses what was lost; who wants no order gets every message once.
 */
/* c-tests: time=80 */
#include "check.h"

enum { MESSAGES = 3000, SIZE = 3000 };

static int option;

static void transmit(void *arg)
{
    struct sockaddr_in a = group(option - PGM_LISTEN_ONLY);
    int *pipes = arg, fd = pgm_socket(0);
    char message[SIZE];

    hear(pipes[0]);
    OK(connect(fd, SA(a), sizeof(a)));
    for (uint32_t i = 0; i < MESSAGES; i++) {
        size_t size = i % 3 == 0 ? SIZE : 500;
        fill(message, size, i);
        memcpy(message, &i, sizeof(i));
        EQUAL(send(fd, message, size, 0), size);
    }
}

static void receive(void *arg)
{
    static char seen[MESSAGES];
    struct sockaddr_in a = group(option - PGM_LISTEN_ONLY);
    struct pgm_receiver_stats stats;
    char message[SIZE + 1];
    int *pipes = arg, on = 1, late = 0;
    uint32_t i, got = 0, newest = 0;
    socklen_t len = sizeof(on);

    OK(setenv("PGM_FAULT_LOSS", "0.03", 1));
    OK(setenv("PGM_FAULT_SEED", "7", 1));
    int rx = pgm_socket(0);
    OK(setsockopt(rx, IPPROTO_PGM, option, &on, sizeof(on)));
    OK(getsockopt(rx, IPPROTO_PGM, option, &on, &len));
    EQUAL(on, 1);
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 1));
    tell(pipes[1]);
    int fd = session(rx);
    for (ssize_t n; (n = OK(recv(fd, message, sizeof(message), 0))) > 0; got++) {
        memcpy(&i, message, sizeof(i));
        CHECK(i < MESSAGES);
        EQUAL(n, i % 3 == 0 ? SIZE : 500);
        if (!matches(message + 4, (size_t)n - 4, i, 4))
            FAIL("message %u is another one", i);
        if (seen[i]++)
            FAIL("message %u came twice", i);
        late += i < newest;
        newest = i > newest ? i : newest;
    }
    len = sizeof(stats);
    OK(getsockopt(fd, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats, &len));
    printf("%u messages, %d after later ones, %llu asked for\n", got, late,
           (unsigned long long)stats.total_selective_naks_sent);
    if (option == PGM_LISTEN_ONLY) {
        CHECK(got > MESSAGES / 2 && got < MESSAGES);
        EQUAL(late, 0);
        EQUAL(stats.total_selective_naks_sent, 0);
    } else {
        EQUAL(got, MESSAGES);
        CHECK(late > 0);
        CHECK(stats.total_selective_naks_sent > 0);
    }
}

int main(void)
{
    int go[2];

    begin(75);
    OK(pipe(go));
    for (option = PGM_LISTEN_ONLY; option <= PGM_UNORDERED; option++) {
        pid_t tx = child(70, transmit, go), rx = child(70, receive, go);
        CHILD_PASSED(rx);
        CHILD_PASSED(tx);
    }
    return 0;
}
