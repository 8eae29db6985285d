// Counts what an audio thread must not do, between `ravel_watch_enter` and `ravel_watch_leave` of the same thread.
// Weak: a program without the watcher (linked, or put before it by LD_PRELOAD) finds null here.
#pragma once

extern "C" {
[[gnu::weak]] void ravel_watch_enter();
[[gnu::weak]] int ravel_watch_leave();          // how many calls were seen
[[gnu::weak]] const char* ravel_watch_first();  // the name of the first of them
}
