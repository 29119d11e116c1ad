/* writev makes one message of its parts, readv spreads one message over its parts. */
/* c-tests: variants=fortify3,lfs,asan */
#include "check.h"

int main(void)
{
    char a[3], b[5], c[100];
    struct iovec out[3] = {{(char *)"ab", 2}, {NULL, 0}, {(char *)"cdefghij", 8}};
    struct iovec in[3] = {{a, sizeof(a)}, {b, sizeof(b)}, {c, sizeof(c)}};

    begin(20);
    int rx = listener(0), tx = sender(0);
    EQUAL(writev(tx, out, 3), 10);
    EQUAL(writev(tx, out, 3), 10);
    int fd = session(rx);
    EQUAL(readv(fd, in, 3), 10);
    CHECK(memcmp(a, "abc", 3) == 0 && memcmp(b, "defgh", 5) == 0 && memcmp(c, "ij", 2) == 0);
    EQUAL(readv(fd, in, 2), 8);
    EXPECT_TEXT(fd, "ij");
    volatile int negative = -1, too_many = 1025; /* more than UIO_MAXIOV */
    FAILS(writev(tx, out, negative), EINVAL);
    FAILS(readv(fd, in, negative), EINVAL);
    FAILS(writev(tx, out, too_many), EINVAL);
    EQUAL(writev(tx, out, 0), 0);
    return 0;
}
