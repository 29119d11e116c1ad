/* dprintf and vdprintf: one message each on a PGM socket, whatever the arguments; what they were on anything else. */
/* c-tests: variants=fortify2,fortify3,asan */
#include "check.h"
#include "cancel.h"

enum { LONG = 200000 };

static char expected[LONG + 100], got[LONG + 100];

static int print_list(int fd, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    int n = vdprintf(fd, format, list);
    va_end(list);
    return n;
}

/* Arguments in registers of both kinds and on the stack. */
#define MANY "%d %s %.3f %ld %c %x %.1f %llu %s %.2f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %Lf %d|"
#define ARGUMENTS                                                                                  \
    -7, "text", 1.125, 1234567890123L, 'c', 0xabc, 2.5, ~0ULL, "stack", 3.25, 4.5, 5.5, 6.5, 7.5, 8.5, \
        9.5, 10.5, 11.25L, 12

static void expect(int fd, int n)
{
    EQUAL(n, strlen(expected));
    EQUAL(recv(fd, got, sizeof(got), 0), n);
    CHECK(memcmp(got, expected, (size_t)n) == 0);
}

/* The same by way of a file: what is not ours goes where it went. */
static void expect_file(int fd)
{
    memset(got, 0, sizeof(got));
    EQUAL(pread(fd, got, sizeof(got) - 1, 0), strlen(expected));
    CHECK(strcmp(got, expected) == 0);
    OK(ftruncate(fd, 0));
    EQUAL(lseek(fd, 0, SEEK_SET), 0);
}

/* Waits for room in the window. */
static void *print_on(void *arg)
{
    pthread_cleanup_push(clean, NULL);
    for (;;)
        dprintf(*(int *)arg, "%01000d", 1);
    pthread_cleanup_pop(0);
    return NULL;
}

int main(void)
{
    struct pgm_send_window window = {100, 0, 100000};
    struct sockaddr_in a = group(1);
    FILE *file = tmpfile();

    begin(40);
    setenv("PGM_LINGER", "off", 1);
    CHECK(file != NULL);
    snprintf(expected, sizeof(expected), MANY, ARGUMENTS);
    /* Before the first PGM socket, and after. */
    EQUAL(dprintf(fileno(file), MANY, ARGUMENTS), strlen(expected));
    expect_file(fileno(file));

    int rx = listener(0), tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    EQUAL(dprintf(fileno(file), MANY, ARGUMENTS), strlen(expected));
    expect_file(fileno(file));
    expect(fd, dprintf(tx, MANY, ARGUMENTS));
    expect(fd, print_list(tx, MANY, ARGUMENTS));
    EQUAL(dprintf(tx, "%s", ""), 0);
    snprintf(expected, sizeof(expected), "%0*d%s", LONG, 1, "end");
    expect(fd, dprintf(tx, "%0*d%s", LONG, 1, "end"));
    errno = 0;
    send_text(tx, "unchanged");
    EQUAL(errno, 0);
    EXPECT_TEXT(fd, "unchanged");

    FAILS(dprintf(fd, "%s", "the wrong way"), EOPNOTSUPP);
    OK(shutdown(tx, SHUT_WR));
    signal(SIGPIPE, SIG_IGN);
    FAILS(dprintf(tx, "%s", "too late"), EPIPE);

    int slow = pgm_socket(0);
    OK(setsockopt(slow, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(slow, SA(a), sizeof(a)));
    cancel(print_on, slow);
    return 0;
}
