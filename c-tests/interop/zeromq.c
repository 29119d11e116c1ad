/*
 * A ZeroMQ peer: zeromq pub|sub ENDPOINT COUNT
 *
 * Message i has two parts, its number as text and octets that follow from it; every tenth is longer than a packet.
 * Endpoints are epgm://ADDRESS;GROUP:PORT and pgm://ADDRESS;GROUP:PORT.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zmq.h>

static char body[8000];

/* Octets of message i's second part. */
static size_t fill(unsigned long i)
{
	size_t length = i % 10 == 9 ? 7000 : 50 + i % 400;

	for (size_t at = 0; at < length; at++)
		body[at] = (char)(i + at * 31);
	return length;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
	exit(1);
}

static void set(void *socket, int option, int value)
{
	if (zmq_setsockopt(socket, option, &value, sizeof value))
		die("zmq_setsockopt");
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static int publish(void *socket, unsigned long count)
{
	char number[32];

	pause_ms(500); /* its source begins with SPMs: it has no answer to a lost first message */
	for (unsigned long i = 0; i < count; i++) {
		size_t length = fill(i);
		int digits = snprintf(number, sizeof number, "%lu", i);

		if (zmq_send(socket, number, (size_t)digits, ZMQ_SNDMORE) < 0 || zmq_send(socket, body, length, 0) < 0)
			die("zmq_send");
		if (i % 4 == 3)
			pause_ms(2);
	}
	printf("sent %lu\n", count);
	fflush(stdout);
	pause_ms(4000); /* repairs */
	return 0;
}

static int subscribe(void *socket, unsigned long count)
{
	static char part[10000];

	set(socket, ZMQ_RCVTIMEO, 15000);
	if (zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0))
		die("ZMQ_SUBSCRIBE");
	puts("ready");
	fflush(stdout);
	for (unsigned long i = 0; i < count; i++) {
		size_t length = fill(i);
		int got = zmq_recv(socket, part, sizeof part - 1, 0);

		if (got < 0) {
			fprintf(stderr, "message %lu: %s\n", i, zmq_strerror(zmq_errno()));
			return 1;
		}
		part[got] = 0;
		if (strtoul(part, NULL, 10) != i) {
			fprintf(stderr, "message %lu expected, %s received\n", i, part);
			return 1;
		}
		got = zmq_recv(socket, part, sizeof part, 0);
		if ((size_t)got != length || memcmp(part, body, length)) {
			fprintf(stderr, "message %lu: %d octets that are not its own\n", i, got);
			return 1;
		}
	}
	printf("received %lu\n", count);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int publisher = argv[1][0] == 'p';
	unsigned long count = strtoul(argv[3], NULL, 10);
	void *context = zmq_ctx_new(), *socket = zmq_socket(context, publisher ? ZMQ_PUB : ZMQ_SUB);

	if (!zmq_has("pgm")) {
		puts("no PGM");
		return 77;
	}
	set(socket, ZMQ_RATE, 20000);
	set(socket, ZMQ_SNDHWM, 0);
	set(socket, ZMQ_RCVHWM, 0);
	set(socket, ZMQ_LINGER, 0);
	/* Its copy of libpgm survives these sizes, see libpgm.c. */
	if (publisher)
		set(socket, ZMQ_MULTICAST_MAXTPDU, strncmp(argv[2], "epgm", 4) ? 1488 : 1496);
	if (zmq_connect(socket, argv[2]))
		die("zmq_connect");
	int status = publisher ? publish(socket, count) : subscribe(socket, count);
	zmq_close(socket);
	zmq_ctx_term(context);
	return status;
}
