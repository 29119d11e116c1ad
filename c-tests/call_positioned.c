/* A socket has no position: ESPIPE; preadv2 and pwritev2 without one are readv and writev. */
/* c-tests: variants=lfs */
#include "check.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
enum { UNKNOWN_FLAG = 1 << 30 };

int main(void)
{
    char buffer[16], other[16];
    struct iovec parts[1025] = {{buffer, 2}, {other, sizeof(other)}};

    begin(30);
    int rx = listener(0), tx = sender(0), all[3] = {rx, tx, -1};
    parts[0].iov_base = (char *)"he";
    parts[1] = (struct iovec){(char *)"llo", 3};
    EQUAL(pwritev2(tx, parts, 2, -1, 0), 5);
    EQUAL(pwritev2(tx, parts, 2, -1, RWF_NOWAIT), 5);
    int fd = all[2] = session(rx);
    parts[0].iov_base = buffer;
    parts[1] = (struct iovec){other, sizeof(other)};
    EQUAL(preadv2(fd, parts, 2, -1, 0), 5);
    CHECK(memcmp(buffer, "he", 2) == 0 && memcmp(other, "llo", 3) == 0);
    /* The rest of a message is kept, as in every read. */
    EQUAL(preadv2(fd, parts, 1, -1, 0), 2);
    EQUAL(ready(fd, POLLIN, 0), POLLIN);
    EQUAL(preadv2(fd, parts + 1, 1, -1, RWF_NOWAIT), 3);
    CHECK(memcmp(other, "llo", 3) == 0);
    FAILS(preadv2(fd, parts, 2, -1, RWF_NOWAIT), EAGAIN);
    FAILS(preadv2(fd, parts, 2, -1, UNKNOWN_FLAG), EOPNOTSUPP);
    FAILS(pwritev2(tx, parts, 2, -1, UNKNOWN_FLAG), EOPNOTSUPP);
    FAILS(preadv2(fd, parts, 2, -2, 0), EINVAL);
    FAILS(preadv2(tx, parts, 2, -1, 0), EOPNOTSUPP);
    FAILS(pwritev2(fd, parts, 2, -1, 0), EOPNOTSUPP);
    FAILS(preadv2(fd, parts, 1025, -1, 0), EINVAL);

    for (int i = 0; i < 3; i++) {
        FAILS(lseek(all[i], 0, SEEK_CUR), ESPIPE);
        FAILS(pread(all[i], buffer, 1, 0), ESPIPE);
        FAILS(pwrite(all[i], buffer, 1, 0), ESPIPE);
        FAILS(preadv(all[i], parts, 1, 0), ESPIPE);
        FAILS(pwritev(all[i], parts, 1, 0), ESPIPE);
        FAILS(preadv2(all[i], parts, 1, 0, 0), ESPIPE);
        FAILS(pwritev2(all[i], parts, 1, 7, 0), ESPIPE);
        FAILS(ftruncate(all[i], 0), EINVAL);
    }
    return 0;
}
