/* Streams on PGM sockets: nothing is lost in buffers, whatever the length of messages. */
/* c-tests: variants=fortify2,lfs */
#include "check.h"
#include <wchar.h>

#define LONG (1 << 20)
static char buffer[LONG + 1], self[4096];

static void expect_all(FILE *in, size_t size, uint32_t seed)
{
    memset(buffer, 0, size);
    EQUAL(fread(buffer, 1, size, in), size);
    CHECK(matches(buffer, size, seed, 0));
}

/* A new program whose stdin is a session, or whose stdout is a sender. */
static int new_program(const char *what)
{
    begin(30);
    if (strcmp(what, "in") == 0) {
        CHECK(fgets(buffer, sizeof(buffer), stdin) != NULL);
        EQUAL(strcmp(buffer, "line\n"), 0);
        expect_all(stdin, 20000, 11);
        expect_all(stdin, LONG, 12);
        EQUAL(getchar(), EOF);
        CHECK(feof(stdin) && !ferror(stdin));
    } else {
        fill(buffer, LONG, 13);
        EQUAL(fwrite(buffer, 1, LONG, stdout), LONG);
        printf("%s", "printed and not flushed");
    }
    return 0;
}

static pid_t start(const char *what, int fd, int as)
{
    pid_t pid = (pid_t)OK(fork());

    if (pid == 0) {
        /* A few of ours hold descriptors that the test waits for. */
        OK(dup2(fd, as));
        closefrom(3);
        execl(self, self, what, (char *)NULL);
        _exit(99);
    }
    return pid;
}

/* Everything until the end of the session. */
static size_t receive_all(int fd)
{
    size_t got = 0;
    ssize_t n;

    while ((n = OK(recv(fd, buffer + got, sizeof(buffer) - got, 0))) > 0)
        got += (size_t)n;
    return got;
}

int main(int argc, char **argv)
{
    static const char tail[] = "printed and not flushed";
    ssize_t n;

    if (argc > 1)
        return new_program(argv[1]);
    begin(60);
    n = OK(readlink("/proc/self/exe", self, sizeof(self) - 1));
    self[n] = 0;
    int rx = listener(0), tx = sender(0);
    FILE *out = fdopen(tx, "w");

    CHECK(out != NULL);
    EQUAL(fileno(out), tx);
    EQUAL(fprintf(out, "number %d, %.1f\n", 42, 0.5), 15);
    EQUAL(fflush(out), 0);
    int fd = session(rx);
    FILE *in = fdopen(fd, "r");
    CHECK(in != NULL);
    EQUAL(fileno(in), fd);
    CHECK(fgets(buffer, 8, in) != NULL && strcmp(buffer, "number ") == 0);
    int number;
    EQUAL(fscanf(in, "%d,", &number), 1);
    EQUAL(number, 42);
    CHECK(fgets(buffer, sizeof(buffer), in) != NULL && strcmp(buffer, " 0.5\n") == 0);

    /* Messages longer than the buffer of the stream, and than the pair of sockets takes. */
    fill(buffer, LONG, 1);
    EQUAL(send(tx, buffer, 100000, 0), 100000);
    EQUAL(send(tx, buffer, LONG, 0), LONG);
    expect_all(in, 100000, 1);
    expect_all(in, LONG, 1);
    fill(buffer, LONG, 2);
    EQUAL(fwrite(buffer, 1, LONG, out), LONG);
    EQUAL(fflush(out), 0);
    expect_all(in, LONG, 2);
    EQUAL(setvbuf(in, NULL, _IONBF, 0), 0);
    EQUAL(dprintf(tx, "%s%c", "dprintf", '!'), 8);
    expect_all(in, 0, 0);
    EQUAL(fread(buffer, 1, 8, in), 8);
    CHECK(memcmp(buffer, "dprintf!", 8) == 0);
    errno = 0;
    EQUAL(ftell(in), -1);
    EQUAL(errno, ESPIPE);
    CHECK(fdopen(tx, "nonsense") == NULL && errno == EINVAL);

    /* The wrong way. */
    FILE *wrong = fdopen((int)OK(dup(fd)), "w");
    CHECK(wrong != NULL);
    EQUAL(fputc('x', wrong), 'x');
    EQUAL(fflush(wrong), EOF);
    EQUAL(errno, EOPNOTSUPP);
    fclose(wrong);

    /* fclose sends what is left and ends the session. */
    EQUAL(fputs("last", out), 1);
    EQUAL(fclose(out), 0);
    FAILS(send(tx, "x", 1, 0), EBADF);
    CHECK(fgets(buffer, sizeof(buffer), in) != NULL && strcmp(buffer, "last") == 0);
    CHECK(fgets(buffer, sizeof(buffer), in) == NULL && feof(in) && !ferror(in));

    /* freopen: the number is a file now. */
    CHECK(freopen("/dev/null", "r", in) == in);
    EQUAL(fileno(in), fd);
    FAILS(recv(fd, buffer, 1, 0), ENOTSOCK);
    EQUAL(fclose(in), 0);

    /* A stream that has wide characters stays libc's. */
    int letters = listener(9), writer = sender(9);
    pid_t wide = (pid_t)OK(fork());
    if (wide == 0) {
        CHECK(fwide(stdout, 1) > 0);
        OK(dup2(writer, 1));
        CHECK(fputws(L"wide\n", stdout) >= 0 && fflush(stdout) == 0);
        _exit(0);
    }
    fd = session(letters);
    EXPECT_TEXT(fd, "wide\n");
    EQUAL(OK(waitpid(wide, NULL, 0)), wide);
    OK(close(fd));
    OK(close(letters));
    OK(close(writer));

    /* stdin and stdout of another program. */
    tx = sender(0);
    send_text(tx, "line\n");
    fd = session(rx);
    pid_t pid = start("in", fd, 0);
    fill(buffer, LONG, 11);
    EQUAL(send(tx, buffer, 20000, 0), 20000);
    fill(buffer, LONG, 12);
    EQUAL(send(tx, buffer, LONG, 0), LONG);
    OK(close(tx));
    CHILD_PASSED(pid);
    OK(close(fd));
    tx = sender(0);
    pid = start("out", tx, 1);
    OK(close(tx));
    fd = session(rx);
    size_t got = 0;
    while (got < LONG)
        got += (size_t)OK(recv(fd, buffer + got, LONG - got, 0));
    CHECK(matches(buffer, LONG, 13, 0));
    EXPECT_TEXT(fd, tail);
    EQUAL(receive_all(fd), 0);
    CHILD_PASSED(pid);

    /* stdin of this one. */
    tx = sender(1);
    rx = listener(1);
    fill(buffer, LONG, 14);
    EQUAL(send(tx, buffer, LONG, 0), LONG);
    fd = session(rx);
    EQUAL(dup2(fd, 0), 0);
    OK(close(fd));
    expect_all(stdin, LONG, 14);

    /* The end of the process sends what is still in a buffer. */
    pid = (pid_t)OK(fork());
    if (pid == 0) {
        begin(30);
        out = fdopen(sender(1), "w");
        CHECK(out != NULL && fputs(tail, out) >= 0);
        exit(0);
    }
    fd = session(rx);
    EXPECT_TEXT(fd, tail);
    CHILD_PASSED(pid);
    return 0;
}
