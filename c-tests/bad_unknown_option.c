/* Options nobody knows: ENOPROTOOPT, for get and set. */
#include "check.h"

int main(void)
{
    static const int unknown[] = {0, 1, RM_OPTIONSBASE, 1099, 4711, -1};
    uint32_t value = 1;
    socklen_t len;

    begin(20);
    int fd = pgm_socket(0);
    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        FAILS(setsockopt(fd, IPPROTO_PGM, unknown[i], &value, sizeof(value)), ENOPROTOOPT);
        len = sizeof(value);
        FAILS(getsockopt(fd, IPPROTO_PGM, unknown[i], &value, &len), ENOPROTOOPT);
    }
    FAILS(setsockopt(fd, SOL_SOCKET, 4711, &value, sizeof(value)), ENOPROTOOPT);
    return 0;
}
