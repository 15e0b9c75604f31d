// asynq, for Go: the commands of benchmarks/contract.py.
//
// On: the ack after the handler, leases of 30 s with heartbeats, a timeout of ten seconds,
// three retries, the archive. It has no bulk enqueue.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/hibiken/asynq"
)

const (
	producers = 50
	warmUp    = 10
	flush     = 300 * time.Millisecond
	monotonic = 1 // CLOCK_MONOTONIC, which Python's time.monotonic reads
	processes = 2 // CLOCK_PROCESS_CPUTIME_ID
)

type crawl struct {
	URL        string   `json:"url"`
	Priority   int      `json:"priority"`
	Tags       []string `json:"tags"`
	AssignedTo string   `json:"assigned_to"`
}

func job(number int, url string) *asynq.Task {
	if url == "" {
		url = fmt.Sprintf("https://example.org/%d", number)
	}
	payload, err := json.Marshal(crawl{url, number % 10, []string{"a", "b"}, "someone"})
	check(err)
	return asynq.NewTask("crawl", payload, asynq.MaxRetry(3), asynq.Timeout(10*time.Second))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func clock(id uintptr) float64 {
	var spec syscall.Timespec
	_, _, failed := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&spec)), 0)
	if failed != 0 {
		log.Fatal(failed)
	}
	return float64(spec.Sec) + float64(spec.Nsec)/1e9
}

type clocks struct{ seconds, cpu float64 }

func now() clocks { return clocks{clock(monotonic), clock(processes)} }

func say(answer any) {
	text, err := json.Marshal(answer)
	check(err)
	fmt.Println(string(text))
}

func since(first clocks) map[string]float64 {
	last := now()
	return map[string]float64{"seconds": last.seconds - first.seconds, "cpu": last.cpu - first.cpu}
}

type quiet struct{}

func (quiet) Debug(...any) {}
func (quiet) Info(...any)  {}
func (quiet) Warn(...any)  {}
func (quiet) Error(a ...any) { log.Println(a...) }
func (quiet) Fatal(a ...any) { log.Fatal(a...) }

func work(redis asynq.RedisConnOpt, jobs, concurrency int, timed bool) {
	var calls atomic.Int64
	var first clocks
	var lock sync.Mutex
	waits := []float64{}
	handler := asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		var got crawl
		if err := json.Unmarshal(task.Payload(), &got); err != nil {
			return err
		}
		if timed {
			sent, err := strconv.ParseFloat(got.URL, 64)
			if err != nil {
				return err
			}
			lock.Lock()
			waits = append(waits, clock(monotonic)-sent)
			lock.Unlock()
		}
		number := calls.Add(1)
		if number == 1 {
			first = now()
		}
		if number == int64(jobs) {
			answer := since(first)
			if timed {
				late := waits[len(waits)/warmUp:]
				sort.Float64s(late)
				answer["median"] = late[len(late)/2]
				answer["p99"] = late[len(late)*99/100]
			}
			time.AfterFunc(flush, func() { say(answer); os.Exit(0) })
		}
		return nil
	})
	say(map[string]bool{"ready": true})
	server := asynq.NewServer(redis, asynq.Config{Concurrency: concurrency, Logger: quiet{}})
	check(server.Run(handler))
}

func main() {
	log.SetOutput(io.Writer(os.Stderr))
	numbers := [2]int{}
	for at, text := range os.Args[2:] {
		number, err := strconv.Atoi(text)
		check(err)
		numbers[at] = number
	}
	jobs, concurrency := numbers[0], numbers[1] // the second is the rate, for paced
	redis, err := asynq.ParseRedisURI(os.Getenv("BENCH_URL"))
	check(err)
	client := asynq.NewClient(redis)
	enqueue := func(task *asynq.Task) {
		_, err := client.Enqueue(task)
		check(err)
	}
	first := now()
	switch command := os.Args[1]; command {
	case "about":
		say(map[string]any{
			"versions": map[string]string{"asynq (Go)": "0.26.0"},
			"imports":  "",
			"guarantees": map[string]bool{
				"survives_kill": true, "acked_after": true, "retries": true,
				"timeout": true, "deliveries": true, "dead_letters": true,
			},
		})
	case "produce":
		for number := range jobs {
			enqueue(job(number, ""))
		}
		say(since(first))
	case "together":
		var all sync.WaitGroup
		for producer := range producers {
			all.Add(1)
			go func() {
				defer all.Done()
				for number := range jobs / producers {
					enqueue(job(producer*jobs+number, ""))
				}
			}()
		}
		all.Wait()
		say(since(first))
	case "bulk":
		say(map[string]any{})
	case "work", "latency":
		work(redis, jobs, concurrency, command == "latency")
	case "paced":
		for number := range jobs {
			due := first.seconds + float64(number)/float64(concurrency)
			time.Sleep(time.Duration((due - clock(monotonic)) * 1e9))
			enqueue(job(number, strconv.FormatFloat(clock(monotonic), 'f', -1, 64)))
		}
		say(since(first))
	default:
		check(errors.New(command + " is no command: see benchmarks/contract.py"))
	}
}
