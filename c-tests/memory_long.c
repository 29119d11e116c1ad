/*
 * Long messages on their way to the network are files, and have a quarter of PGM_MEMORY together. A sender whose own
 * messages fill it waits as for any buffer; one that others leave nothing to gets ENOBUFS; who sends short ones
 * notices nothing. Messages that wait for more (MSG_MORE) take twice their octets.
 */
/* c-tests: time=170 */
#include "check.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <linux/sockios.h>

enum { LONG = 500000, PART = 100000, ROOM = 8000000, SENDERS = 20, MANY = 30 };

static char message[ROOM];

/* Messages that a sender takes, and what it says to the next. */
static int send_until_refused(int fd, int *error)
{
    int n = 0;

    while (send(fd, message, LONG, MSG_DONTWAIT) == LONG)
        n++;
    *error = errno;
    return n;
}

/* End it with all it has. */
static void drop(int fd)
{
    struct linger at_once = {1, 0};

    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
    OK(close(fd));
}

/* Until nothing of what was closed is on its way. */
static void settle(void)
{
    int fd = sender(0);

    for (long long start = now_ms(); send(fd, message, ROOM, MSG_DONTWAIT) == -1; sleep_ms(10))
        CHECK(now_ms() - start < 20000);
    drop(fd);
    sleep_ms(100);
}

static int writable(int fd)
{
    struct pollfd p = {fd, POLLOUT, 0};
    return (int)OK(poll(&p, 1, 0)) == 1 && p.revents == POLLOUT;
}

/* What is on its way stays there: these have next to no rate. */
static void all_together(void)
{
    int senders[SENDERS], total, error;
    long long start = now_ms();

    for (int i = 0; i < SENDERS; i++)
        senders[i] = sender(0);
    total = send_until_refused(senders[0], &error);
    EQUAL(error, EAGAIN);
    CHECK(!writable(senders[0]));
    for (int i = 1; i < SENDERS; i++) {
        total += send_until_refused(senders[i], &error);
        EQUAL(error, ENOBUFS);
        CHECK(writable(senders[i]));
        EQUAL(send(senders[i], message, PART, 0), PART);
    }
    long most = ROOM / LONG + (now_ms() - start) / 1000 + 2;
    if (total < ROOM / LONG || total > most)
        FAIL("%d messages were taken, expected %d to %ld", total, ROOM / LONG, most);

    /* Its own messages are in the way: it waits, as long as it may. */
    struct timeval limit = {0, 300000};
    OK(setsockopt(senders[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
    start = now_ms();
    FAILS(send(senders[0], message, ROOM, 0), EAGAIN);
    CHECK(now_ms() - start >= 290);
    /* Others': waiting would be for them. */
    FAILS(send(senders[1], message, ROOM, 0), ENOBUFS);
    FAILS(send(senders[1], message, ROOM + 1, 0), EMSGSIZE);

    /* An ended sender leaves nothing. */
    drop(senders[0]);
    start = now_ms();
    while (send(senders[1], message, LONG, 0) == -1) {
        EQUAL(errno, ENOBUFS);
        CHECK(now_ms() - start < 1000);
        sleep_ms(10);
    }
    for (int i = 1; i < SENDERS; i++)
        drop(senders[i]);
}

static volatile sig_atomic_t caught;

static void on_signal(int signal)
{
    caught = signal;
}

/* A child that signals us again and again: the first may come too soon. */
static pid_t signalling(int signal, int ms)
{
    pid_t parent = getpid(), child = (pid_t)OK(fork());

    while (child == 0) {
        sleep_ms(ms);
        if (kill(parent, signal) == -1)
            _exit(0);
    }
    return child;
}

static void end_child(pid_t child)
{
    OK(kill(child, SIGKILL));
    EQUAL(OK(waitpid(child, NULL, 0)), child);
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    int error, fd = sender(0);

    OK(sigaction(SIGUSR1, &action, NULL));
    while (send_until_refused(fd, &error), error != EAGAIN) /* until what others had is gone */
        sleep_ms(10);
    pid_t child = signalling(SIGUSR1, 200);
    FAILS(send(fd, message, ROOM, 0), EINTR);
    EQUAL(caught, SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    end_child(child);
    drop(fd);
}

static void joined(void)
{
    int taken = 0, fd = sender(0);

    FAILS(send(fd, message, ROOM / 2 + 1, MSG_MORE), EMSGSIZE);
    for (long long refused = 0; refused == 0 || now_ms() - refused < 500;) { /* what others had goes meanwhile */
        if (send(fd, message, PART, MSG_MORE) == PART) {
            taken += PART;
            refused = 0;
            continue;
        }
        EQUAL(errno, ENOBUFS);
        refused = refused ? refused : now_ms();
        sleep_ms(10);
    }
    EQUAL(taken, ROOM / 2);
    EQUAL(send(fd, "end", 3, 0), 3);
    drop(fd);
}

/* A sender that takes more, but whose last message still fills what another leaves: it is told once when it is out. */
static void told_once(void)
{
    int times = 0, cork = sender(0), fd = sender(0), epoll = (int)OK(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    EQUAL(send(cork, message, ROOM / 2 - PART, MSG_MORE), ROOM / 2 - PART); /* twice, so there is twice a part */
    EQUAL(send(fd, message, PART * 3 / 2, MSG_DONTWAIT), PART * 3 / 2);
    while (send(fd, message, PART * 3 / 2, MSG_DONTWAIT) == -1) {
        EQUAL(errno, EAGAIN);
        CHECK(epoll_wait(epoll, &event, 1, 10000) == 1);
        times++;
    }
    printf("waited %d times for one message\n", times);
    CHECK(times >= 1 && times <= 3);
    OK(close(epoll));
    drop(fd);
    drop(cork);
}

static sigjmp_buf out;

static void jump(int signal)
{
    siglongjmp(out, signal);
}

/* What a handler jumped out of has no room any more when the thread sends again. */
static void jumped_out(void)
{
    struct sigaction action = {.sa_handler = jump};
    volatile int sent = 0;
    int error, fd = sender(0), other = sender(0);

    OK(sigaction(SIGUSR2, &action, NULL));
    pid_t child = signalling(SIGUSR2, 5);
    for (volatile int i = 0; i < 4 * ROOM / LONG; i++)
        while (sigsetjmp(out, 1) == 0) {
            while (send(fd, message, 1000, MSG_DONTWAIT) == 1000) /* short ones fill the pair, */
                continue;
            if (send(fd, message, LONG, 0) == LONG) /* and this waits, nearly always */
                sent++;
        }
    signal(SIGUSR2, SIG_IGN);
    end_child(child);
    int taken = send_until_refused(other, &error);
    if (taken + sent < ROOM / LONG - 1)
        FAIL("%d and %d messages were taken, expected %d", sent, taken, ROOM / LONG - 1);
    drop(fd);
    drop(other);
}

static int sender_of_rate(int kbits)
{
    struct pgm_send_window window = {.rate_kbits_per_sec = kbits, .window_size_in_msecs = 1000};
    struct sockaddr_in address = group(1);
    int fd = pgm_socket(0);

    window.window_size_in_bytes = window.rate_kbits_per_sec / 8 * window.window_size_in_msecs;
    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(fd, SA(address), sizeof(address)));
    return fd;
}

/* A sender whose pair is full of short messages, and stays so for a while. */
static int full_sender(void)
{
    int n, fd = sender_of_rate(40);

    do {
        sleep_ms(50);
        for (n = 0; send(fd, message, 1000, MSG_DONTWAIT) == 1000; n++)
            continue;
    } while (n > 0);
    return fd;
}

/* The limit is one for the whole send, also where the source takes more while it has the file. */
static void limited(void)
{
    struct timeval limit = {1, 0};
    int cork = sender(0), fd = sender_of_rate(40);

    EQUAL(send(cork, message, ROOM / 2 - PART, MSG_MORE), ROOM / 2 - PART);
    EQUAL(send(fd, message, PART * 3 / 2, MSG_DONTWAIT), PART * 3 / 2);
    sleep_ms(100);
    OK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
    long long start = now_ms();
    FAILS(send(fd, message, PART * 3 / 2, 0), EAGAIN);
    CHECK(now_ms() - start >= 990 && now_ms() - start < 1900);
    drop(fd);
    drop(cork);
}

/* Nor when that was all that there is. */
static void jumped_out_of_all(void)
{
    struct sigaction action = {.sa_handler = jump};
    int fd = full_sender(), other = sender(0);
    volatile pid_t child = 0;

    OK(sigaction(SIGUSR2, &action, NULL));
    if (sigsetjmp(out, 1) == 0) {
        child = signalling(SIGUSR2, 300);
        FAIL("send returned %zd", send(fd, message, ROOM, 0));
    }
    signal(SIGUSR2, SIG_IGN);
    end_child(child);
    EQUAL(send(other, message, ROOM, MSG_DONTWAIT), ROOM);
    drop(fd);
    drop(other);
}

static __thread sigjmp_buf out_of_thread;

static void jump_in_thread(int signal)
{
    siglongjmp(out_of_thread, signal);
}

static void *send_no_more(void *fd)
{
    if (sigsetjmp(out_of_thread, 1) == 0)
        FAIL("send returned %zd", send(*(int *)fd, message, ROOM, 0));
    for (;;)
        pause();
}

/* Room that a thread keeps, since it was jumped out of its send and sends no more, is waited for in vain: not for ever,
 * and not by working. */
static void jumped_out_elsewhere(void)
{
    struct sigaction action = {.sa_handler = jump_in_thread};
    int fd = sender_of_rate(1000);
    struct timespec worked;
    pthread_t thread;

    OK(sigaction(SIGUSR2, &action, NULL));
    for (int i = 0; i < 3; i++, sleep_ms(30)) /* the source takes some of it at once */
        while (send(fd, message, 1000, MSG_DONTWAIT) == 1000) /* short ones fill the pair */
            continue;
    EQUAL(pthread_create(&thread, NULL, send_no_more, &fd), 0);
    sleep_ms(500);
    EQUAL(pthread_kill(thread, SIGUSR2), 0);
    OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &worked));
    long long start = now_ms(), before = worked.tv_sec * 1000LL + worked.tv_nsec / 1000000;
    FAILS(send(fd, message, ROOM, 0), ENOBUFS);
    OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &worked));
    long long took = now_ms() - start, work = worked.tv_sec * 1000LL + worked.tv_nsec / 1000000 - before;
    printf("refused after %lld ms, %lld of them work\n", took, work);
    CHECK(took < 30000 && work < 2000);
    EQUAL(pthread_cancel(thread), 0);
    EQUAL(pthread_join(thread, NULL), 0);
    EQUAL(send(fd, message, ROOM, 0), ROOM);
    drop(fd);
}

static volatile int own;

static void send_long(int signal)
{
    (void)signal;
    caught = send(own, message, ROOM, MSG_DONTWAIT) == -1 ? errno : 0;
}

/* A handler is not told to wait for the send that it interrupts. */
static void in_a_handler(void)
{
    struct sigaction action = {.sa_handler = send_long};
    int fd = full_sender();

    own = fd;
    OK(sigaction(SIGUSR2, &action, NULL));
    pid_t child = signalling(SIGUSR2, 300);
    do {
        FAILS(send(fd, message, ROOM, 0), EINTR);
    } while (caught == EAGAIN); /* it was before that */
    EQUAL(caught, ENOBUFS);
    signal(SIGUSR2, SIG_IGN);
    end_child(child);
    drop(fd);
}

static int fast_sender(void)
{
    return sender_of_rate(100000);
}

/* All is sent, though the memory holds a fraction: blocking, ... */
static void waits(void)
{
    int fd = fast_sender();

    for (int i = 0; i < MANY; i++) {
        ssize_t n = send(fd, message, LONG, 0);
        if (n == -1 && errno == ENOBUFS) { /* as above */
            CHECK(i == 0);
            sleep_ms(10);
            i--;
            continue;
        }
        EQUAL(n, LONG);
    }
    OK(close(fd));
}

/* ... and told by epoll, once for each time that there is room. */
static void waits_for_edges(void)
{
    int times = 0, fd = fast_sender(), epoll = (int)OK(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

    OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    for (int sent = 0; sent < MANY;) {
        ssize_t n = send(fd, message, LONG, 0);
        if (n == LONG) {
            sent++;
        } else if (errno == ENOBUFS) {
            sleep_ms(10); /* the messages of `waits` are on their way */
        } else {
            EQUAL(errno, EAGAIN);
            CHECK(epoll_wait(epoll, &event, 1, 10000) == 1);
            times++;
        }
    }
    printf("waited %d times for %d messages\n", times, MANY);
    CHECK(times > 0 && times < MANY * 10);
    OK(close(fd));
}

static void announce(int fd, unsigned octets)
{
    OK(setsockopt(fd, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &octets, sizeof(octets)));
}

/* What a part leaves that is less than a packet waits for the next, which may need all the room that there is. */
static void parts(void)
{
    static const int lengths[] = {ROOM / 2 + LONG, ROOM, 100, ROOM};
    int fd = fast_sender(), sum = 0;

    for (int i = 0; i < 4; i++)
        sum += lengths[i];
    announce(fd, (unsigned)sum);
    for (int i = 0; i < 4; i++)
        EQUAL(send(fd, message, (size_t)lengths[i], 0), lengths[i]);
    OK(close(fd));
}

/* Short messages of several sends are none of the long ones: not while the window has them, nor while they wait. */
static void short_ones(void)
{
    int queued, fd = fast_sender();

    for (int i = 0; i < 100; i++) {
        EQUAL(send(fd, message, PART, MSG_MORE), PART);
        EQUAL(send(fd, "end", 3, 0), 3);
    }
    for (int i = 0; i < 50; i++) {
        announce(fd, PART);
        EQUAL(send(fd, message, PART - 1, 0), PART - 1);
        EQUAL(send(fd, message, 1, 0), 1);
    }
    for (long long start = now_ms(); OK(ioctl(fd, SIOCOUTQ, &queued)), queued > 0; sleep_ms(10))
        CHECK(now_ms() - start < 20000);
    EQUAL(send(fd, message, ROOM, MSG_DONTWAIT), ROOM);
    drop(fd);
}

int main(void)
{
    char text[32];

    begin(150);
    snprintf(text, sizeof(text), "%d", 4 * ROOM);
    setenv("PGM_MEMORY", text, 1);
    setenv("PGM_LINGER", "off", 1);
    setenv("PGM_RATE", "1M", 1);
    all_together();
    interrupted();
    joined();
    jumped_out();
    jumped_out_of_all();
    in_a_handler();
    settle();
    jumped_out_elsewhere();
    settle();
    told_once();
    settle();
    limited();
    waits();
    waits_for_edges();
    settle();
    parts();
    settle();
    short_ones();
    return 0;
}
