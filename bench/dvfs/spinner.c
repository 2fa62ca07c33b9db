// SPDX-License-Identifier: Apache-2.0
// Takes a share of one core in every period, before anything of lower priority: what is left looks like a slower
// clock. Usage: spinner CORE SHARE PERIOD_US. Needs the right to SCHED_FIFO. Ends with its parent.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int count, char **words) {
  if (count != 4) return 2;
  int core = atoi(words[1]);
  double share = atof(words[2]);
  long long period = atoll(words[3]) * 1000LL;
  if (share < 0 || share > 0.94 || period < 100000) return 2;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  struct sched_param param = {.sched_priority = 50};
  if (sched_setaffinity(0, sizeof cores, &cores)) { perror("affinity"); return 3; }
  if (sched_setscheduler(0, SCHED_FIFO, &param)) { perror("SCHED_FIFO"); return 4; }
  printf("ready\n");
  fflush(stdout);
  for (long long start = now();; start += period) {
    while (now() < start + (long long)(share * period)) {}
    struct timespec until = {(start + period) / 1000000000LL, (start + period) % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  }
}
