/*
 * Threads that send, receive, poll, peek, shut down, close and open again, each on what it finds: no hang, no
 * crash, and afterwards no descriptor and no memory more than before.
 */
/* c-tests: time=150 */
#include "check.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/epoll.h>

enum { SLOTS = 12, GROUPS = 3, THREADS = 6 };

static int slots[SLOTS];
static volatile int stop;
static unsigned long calls[THREADS];

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

/* Take what is in a slot, or put something there; what was there is closed. */
static int take(int slot)
{
    return __atomic_exchange_n(&slots[slot], -1, __ATOMIC_SEQ_CST);
}

static void put(int slot, int fd)
{
    int old = __atomic_exchange_n(&slots[slot], fd, __ATOMIC_SEQ_CST);
    if (old != -1)
        OK(close(old));
}

static int open_one(unsigned kind, int n)
{
    struct sockaddr_in a = group(n);
    int fd = pgm_socket(kind & 4 ? SOCK_NONBLOCK : 0);
    struct timeval t = {0, 20000};

    /* Nothing here waits for ever. */
    OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
    OK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)));
    if (kind & 1) {
        OK(connect(fd, SA(a), sizeof(a)));
    } else {
        OK(bind(fd, SA(a), sizeof(a)));
        OK(listen(fd, 5));
    }
    return fd;
}

/* Use a socket that other threads use, shut down and close at the same time. */
static void use(int fd, unsigned what, int slot)
{
    static const char message[20000];
    char buffer[4096];
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    struct timeval t = {0, 20000};
    int value;
    socklen_t len = sizeof(value);

    switch (what % 12) {
    case 0: case 1: case 2:
        send(fd, message, what % sizeof(message), MSG_NOSIGNAL);
        break;
    case 3: case 4: case 5:
        recv(fd, buffer, what % sizeof(buffer), 0);
        break;
    case 6:
        recv(fd, buffer, what % sizeof(buffer), MSG_PEEK | MSG_DONTWAIT);
        break;
    case 7:
        poll(&p, 1, (int)(what % 5));
        break;
    case 8:
        ioctl(fd, FIONREAD, &value);
        break;
    case 9: {
        int accepted = accept(fd, NULL, NULL);
        if (accepted != -1) {
            setsockopt(accepted, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
            put(slot, accepted);
        }
        break;
    }
    case 10:
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len);
        break;
    default:
        if (what % 7 == 0)
            shutdown(fd, (int)(what / 16 % 3));
    }
}

static void *run(void *arg)
{
    int self = (int)(intptr_t)arg;
    unsigned seed = (unsigned)self * 7919u + 1u;

    while (!stop) {
        unsigned r = next_random(&seed), what = next_random(&seed);
        int slot = (int)(r % SLOTS);
        calls[self]++;
        if (what % 64 == 0) {
            int fd = take(slot);
            if (fd != -1)
                OK(close(fd));
        } else if (what % 64 == 1) {
            put(slot, open_one(what >> 6, (int)(what >> 9) % GROUPS));
        } else {
            /* The number may be closed, and be somebody else's, before it is used: that is the point. */
            int fd = __atomic_load_n(&slots[slot], __ATOMIC_SEQ_CST);
            if (fd != -1)
                use(fd, what, (int)(next_random(&seed) % SLOTS));
        }
    }
    return NULL;
}

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 3; /* ".", ".." and the directory itself */
}

static long resident_kb(void)
{
    long pages = 0, total;
    FILE *file = fopen("/proc/self/statm", "r");

    CHECK(file != NULL);
    EQUAL(fscanf(file, "%ld %ld", &total, &pages), 2);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Some seconds of it, and everything closed; how many descriptors are left when the sources are done. */
static void round_of(int seconds, int *fds, long *kb)
{
    pthread_t threads[THREADS];

    stop = 0;
    for (int i = 0; i < THREADS; i++)
        EQUAL(pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i), 0);
    sleep_ms(seconds * 1000);
    stop = 1;
    /*
     * A number that was just closed may be an accepted socket's before it has its listener's time-outs: who waits
     * there waits for the end of a sender.
     */
    for (int i = 0; i < SLOTS; i++)
        put(i, -1);
    for (int i = 0; i < THREADS; i++)
        EQUAL(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < SLOTS; i++)
        put(i, -1);
    /* Sources linger after their close: until they are gone. */
    long long begun = now_ms();
    int last = -1, same = 0;
    while (same < 20 && now_ms() - begun < 30000) {
        sleep_ms(100);
        int now = descriptors();
        same = now == last ? same + 1 : 0;
        last = now;
    }
    *fds = last;
    *kb = resident_kb();
    unsigned long all = 0;
    for (int i = 0; i < THREADS; i++)
        all += calls[i];
    printf("%lu calls, %d descriptors, %ld kB\n", all, *fds, *kb);
    CHECK(all > 1000);
}

int main(void)
{
    int fds[3];
    long kb[3];

    begin(140);
    for (int i = 0; i < SLOTS; i++)
        slots[i] = -1;
    for (int i = 0; i < 3; i++)
        round_of(5, &fds[i], &kb[i]);
    /* The engine keeps what it once needed; what it needs does not grow from round to round. */
    CHECK(fds[2] <= fds[0] + 2);
    if (kb[2] > kb[1] + kb[1] / 2 + 8192)
        FAIL("memory grows: %ld kB after one round, %ld kB after two, %ld kB after three", kb[0], kb[1],
             kb[2]);

    /* A group of its own: sources of the others may not be gone everywhere (with PGMCC they take their time). */
    int rx = listener(GROUPS), tx = sender(GROUPS);
    send_text(tx, "still works");
    int fd = session(rx);
    EXPECT_TEXT(fd, "still works");
    return 0;
}
