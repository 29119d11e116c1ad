/* sendfile, splice, tee and copy_file_range with PGM sockets: nothing is lost, and nothing waits for ever. */
/* c-tests: variants=lfs */
#include "check.h"
#include <sys/mman.h>
#include <sys/sendfile.h>

#define SIZE 300001
static char buffer[SIZE];

static void expect_octets(int fd, size_t size, uint32_t seed)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = OK(read(fd, buffer + got, size - got));
        CHECK(n > 0);
        got += (size_t)n;
    }
    CHECK(matches(buffer, size, seed, 0));
}

int main(void)
{
    int ends[2];
    off_t offset = 1;

    begin(30);
    int file = (int)OK(memfd_create("file", 0));
    fill(buffer, SIZE, 1);
    EQUAL(write(file, buffer, SIZE), SIZE);
    int rx = listener(0), tx = sender(0), fresh = pgm_socket(0);

    /* From the position, which moves, and from an offset, which moves too. */
    EQUAL(lseek(file, 0, SEEK_SET), 0);
    EQUAL(sendfile(tx, file, NULL, SIZE + 10), SIZE);
    EQUAL(lseek(file, 0, SEEK_CUR), SIZE);
    int fd = session(rx);
    expect_octets(fd, SIZE, 1);
    EQUAL(sendfile(tx, file, &offset, 1000), 1000);
    EQUAL(offset, 1001);
    EQUAL(lseek(file, 0, SEEK_CUR), SIZE);
    EQUAL(recv(fd, buffer, SIZE, 0), 1000);
    CHECK(matches(buffer, 1000, 1, 1));
    EQUAL(sendfile(tx, file, NULL, 10), 0);
    FAILS(sendfile(tx, -1, &offset, 10), EBADF);
    offset = 0;
    FAILS(sendfile(fd, file, &offset, 10), EOPNOTSUPP);
    FAILS(sendfile(fresh, file, &offset, 10), ENOTCONN);
    FAILS(sendfile(rx, file, &offset, 10), ENOTCONN);

    /* Out of a pipe. */
    OK(pipe(ends));
    EQUAL(write(ends[1], "through a pipe", 14), 14);
    FAILS(splice(ends[0], NULL, fd, NULL, 100, 0), EOPNOTSUPP);
    EQUAL(splice(ends[0], NULL, tx, NULL, 100, 0), 14);
    EXPECT_TEXT(fd, "through a pipe");

    /* Into a pipe: a message longer than what is asked for, and than the pipe has room for. */
    fill(buffer, SIZE, 2);
    EQUAL(send(tx, buffer, SIZE, 0), SIZE);
    EQUAL(splice(fd, NULL, ends[1], NULL, 10, 0), 10);
    EQUAL(read(ends[0], buffer, SIZE), 10);
    CHECK(matches(buffer, 10, 2, 0));
    size_t got = 10;
    while (got < SIZE) {
        ssize_t n = OK(splice(fd, NULL, ends[1], NULL, SIZE, SPLICE_F_NONBLOCK));
        CHECK(n > 0);
        EQUAL(read(ends[0], buffer, SIZE), n);
        CHECK(matches(buffer, (size_t)n, 2, got));
        got += (size_t)n;
    }
    EQUAL(got, SIZE);
    /* sendfile into a pipe may, too; elsewhere it takes no socket. */
    fill(buffer, SIZE, 2);
    EQUAL(send(tx, buffer, SIZE, 0), SIZE);
    EQUAL(recv(fd, buffer, 2, 0), 2);
    for (got = 2; got < SIZE;) {
        ssize_t n = OK(sendfile(ends[1], fd, NULL, SIZE));
        CHECK(n > 0);
        EQUAL(read(ends[0], buffer, SIZE), n);
        CHECK(matches(buffer, (size_t)n, 2, got));
        got += (size_t)n;
    }
    EQUAL(got, SIZE);
    FAILS(sendfile(ends[1], tx, NULL, 10), EOPNOTSUPP);
    FAILS(sendfile(ends[1], fresh, NULL, 10), ENOTCONN);
    FAILS(sendfile(ends[1], fd, &offset, 10), ESPIPE);
    FAILS(sendfile(file, fd, NULL, 10), EINVAL);
    FAILS(sendfile(tx, fd, NULL, 10), EINVAL);
    send_text(tx, "waits");
    CHECK(ready(fd, POLLIN, 10000) & POLLIN);
    OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    while (write(ends[1], buffer, 4096) > 0)
        continue;
    EQUAL(errno, EAGAIN);
    FAILS(splice(fd, NULL, ends[1], NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);
    EXPECT_TEXT(fd, "waits");
    FAILS(splice(fd, &offset, ends[1], NULL, 10, 0), ESPIPE);
    FAILS(splice(fd, NULL, file, NULL, 10, 0), EINVAL);

    /* As with any socket. */
    FAILS(tee(fd, ends[1], 10, 0), EINVAL);
    FAILS(copy_file_range(file, NULL, tx, NULL, 10, 0), EINVAL);
    FAILS(pread(fd, buffer, 1, 0), ESPIPE);
    OK(close(tx));
    OK(close(ends[0]));
    OK(pipe(ends));
    EQUAL(splice(fd, NULL, ends[1], NULL, 10, 0), 0);
    return 0;
}
