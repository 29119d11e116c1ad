/*
 * What both peers send and check: message i carries its number, its length and octets that follow from both,
 * so that a receiver notices a lost, repeated, reordered, cut or damaged message.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Forward error correction of a sender: RS(FEC_N, k). */
enum fec { FEC_NONE, FEC_ON_DEMAND, FEC_PRO_ACTIVE };
enum { FEC_N = 255, FEC_PRO_ACTIVE_PACKETS = 2 };

struct job {
	const char *group;      /* multicast group */
	const char *interface;  /* local IPv4 address */
	int port;               /* data-destination port */
	int udp;                /* encapsulation port, 0: native */
	unsigned long count;    /* messages */
	size_t min, max;        /* their lengths */
	double pace;            /* messages per second, 0: as fast as it goes */
	int coarse;             /* pace in steps of 2 ms, to leave the processor to others */
	double idle;            /* receiver: give up after so many silent seconds */
	int linger_ms;          /* sender: serve repairs so long after the last message */
	enum fec fec;           /* sender: parity */
	int fec_k;              /* for groups of so many packets */
	int verify;             /* receiver: check every octet, not only the number */
};

static inline double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352dU;
	x ^= x >> 15;
	x *= 0x846ca68bU;
	return x ^ (x >> 16);
}

/* Length of message i. Numbers fit only in messages of 8 octets and more; shorter ones are checked by length and filling. */
static inline size_t message_length(const struct job *job, unsigned long i)
{
	return job->min + mix((uint32_t)i + 1) % (job->max - job->min + 1);
}

static inline void message_fill(unsigned char *buffer, size_t length, unsigned long i)
{
	uint32_t seed = mix((uint32_t)i ^ 0x9e3779b9U);
	uint64_t number = i;

	for (size_t at = 0; at < length; at++)
		buffer[at] = (unsigned char)(seed + at * 31);
	if (length >= sizeof number)
		memcpy(buffer, &number, sizeof number);
}

/* 0 if the octets are message i's. */
static inline int message_check(const struct job *job, const unsigned char *buffer, size_t length, unsigned long i)
{
	uint32_t seed = mix((uint32_t)i ^ 0x9e3779b9U);
	uint64_t number;
	size_t at = 0;

	if (length != message_length(job, i)) {
		fprintf(stderr, "message %lu: length %zu, expected %zu\n", i, length, message_length(job, i));
		return -1;
	}
	if (length >= sizeof number) {
		memcpy(&number, buffer, sizeof number);
		if (number != i) {
			fprintf(stderr, "message %lu expected, %llu received\n", i, (unsigned long long)number);
			return -1;
		}
		at = sizeof number;
	}
	for (; job->verify && at < length; at++) {
		if (buffer[at] != (unsigned char)(seed + at * 31)) {
			fprintf(stderr, "message %lu: octet %zu differs\n", i, at);
			return -1;
		}
	}
	return 0;
}

/* Wait until message i is due. Sleeps only when it is well ahead; coarsely, and never spins, if the job says so. */
static inline void pace_wait(const struct job *job, double start, unsigned long i)
{
	double due, ahead;

	if (job->pace <= 0)
		return;
	due = start + (double)i / job->pace;
	while ((ahead = due - seconds_now()) > 0) {
		if (job->coarse) {
			nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
		} else if (ahead > 200e-6) {
			struct timespec t = { 0, (long)((ahead - 100e-6 > 0.5 ? 0.5 : ahead - 100e-6) * 1e9) };
			nanosleep(&t, NULL);
		}
	}
}

/* One line of JSON; `more` is empty or further members, each after a comma. */
static inline void report(const char *role, unsigned long messages, unsigned long long octets, double seconds,
			  const char *end, const char *more)
{
	printf("{\"role\":\"%s\",\"messages\":%lu,\"bytes\":%llu,\"seconds\":%.6f,\"rate\":%.1f,\"end\":\"%s\"%s}\n", role,
	       messages, octets, seconds, seconds > 0 ? (double)messages / seconds : 0.0, end, more);
	fflush(stdout);
}

static inline void usage(const char *name)
{
	fprintf(stderr,
		"usage: %s send|recv -i ADDRESS -g GROUP -p PORT [-u UDP-PORT] -n COUNT [-s MIN[:MAX]] [-r MESSAGES/S]\n"
		"       [-t IDLE-SECONDS] [-l LINGER-MS] [-f none|on-demand|pro-active] [-k GROUP-PACKETS] [-c] [-q]\n"
		"       (-c: pace coarsely, -q: check numbers only)\n",
		name);
	exit(2);
}

/* Fills the job from the command line, returns 's' or 'r'. */
static inline int parse_job(int argc, char **argv, struct job *job)
{
	int role = argc > 1 ? argv[1][0] : 0;

	*job = (struct job){ .count = 1000, .min = 64, .max = 64, .idle = 10, .linger_ms = 1500, .fec_k = 8, .verify = 1 };
	for (int i = 2; i < argc; i++) {
		char option = argv[i][0] == '-' ? argv[i][1] : 0;
		char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (option == 'q' || option == 'c') {
			*(option == 'q' ? &job->verify : &job->coarse) = option == 'c';
			continue;
		}
		if (!value)
			usage(argv[0]);
		i++;
		switch (option) {
		case 'i': job->interface = value; break;
		case 'g': job->group = value; break;
		case 'p': job->port = atoi(value); break;
		case 'u': job->udp = atoi(value); break;
		case 'n': job->count = strtoul(value, NULL, 10); break;
		case 'r': job->pace = atof(value); break;
		case 't': job->idle = atof(value); break;
		case 'l': job->linger_ms = atoi(value); break;
		case 'f': job->fec = value[0] == 'o' ? FEC_ON_DEMAND : value[0] == 'p' ? FEC_PRO_ACTIVE : FEC_NONE; break;
		case 'k': job->fec_k = atoi(value); break;
		case 's':
			job->min = job->max = strtoul(value, &value, 10);
			if (*value == ':')
				job->max = strtoul(value + 1, NULL, 10);
			break;
		default: usage(argv[0]);
		}
	}
	if ((role != 's' && role != 'r') || !job->interface || !job->group || !job->port || job->max < job->min || !job->min)
		usage(argv[0]);
	return role;
}

#endif
