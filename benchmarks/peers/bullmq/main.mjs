// BullMQ, for Node.js: the commands of `benchmarks/contract.py`.
//
// On: the ack after the handler, locks of 30 s that are renewed, three attempts, stalled jobs
// taken over once. Finished jobs are removed. It has no timeout.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Queue, Worker } from 'bullmq'

const PRODUCERS = 50
const WARM_UP = 10
const FLUSH = 300
const NAME = 'crawl'
const OPTIONS = { attempts: 3, removeOnComplete: true }

const [command, ...numbers] = process.argv.slice(2)
// The second is the rate, for `paced`.
const [jobs = 0, concurrency = 0] = numbers.map(Number)
const url = new URL(process.env.BENCH_URL)
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null }

// As Python's time.monotonic: CLOCK_MONOTONIC in seconds.
const monotonic = () => Number(process.hrtime.bigint()) / 1e9
const cpu = () => {
  const used = process.cpuUsage()
  return (used.user + used.system) / 1e6
}
const clocks = () => ({ seconds: monotonic(), cpu: cpu() })
const since = (first) => ({ seconds: monotonic() - first.seconds, cpu: cpu() - first.cpu })
const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\n')

const crawl = (number, sent) => ({
  url: sent ?? `https://example.org/${number}`,
  priority: number % 10,
  tags: ['a', 'b'],
  assigned_to: 'someone',
})

async function timed(produce) {
  const queue = new Queue(NAME, { connection })
  await queue.waitUntilReady()
  const first = clocks()
  await produce(queue, first)
  say(since(first))
  await queue.close()
}

async function produce(queue, from, to) {
  for (let number = from; number < to; number++) {
    await queue.add(NAME, crawl(number), OPTIONS)
  }
}

function work(keepTime) {
  const waits = []
  let calls = 0
  let first
  const handle = async (job) => {
    if (keepTime) waits.push(monotonic() - Number(job.data.url))
    calls += 1
    if (calls === 1) first = clocks()
    if (calls !== jobs) return
    const answer = since(first)
    if (keepTime) {
      const late = waits.slice(Math.floor(waits.length / WARM_UP)).sort((a, b) => a - b)
      answer.median = late[Math.floor(late.length / 2)]
      answer.p99 = late[Math.floor((late.length * 99) / 100)]
    }
    sleep(FLUSH).then(() => process.stdout.write(JSON.stringify(answer) + '\n', () => process.exit(0)))
  }
  new Worker(NAME, handle, { connection, concurrency })
  say({ ready: true })
}

switch (command) {
  case 'about': {
    const version = (name) =>
      JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version
    say({
      versions: { 'bullmq (Node.js)': version('bullmq') },
      imports: '',
      guarantees: {
        survives_kill: true, acked_after: true, retries: true,
        timeout: false, deliveries: true, dead_letters: true,
      },
    })
    break
  }
  case 'produce':
    await timed((queue) => produce(queue, 0, jobs))
    break
  case 'together': {
    const each = Math.floor(jobs / PRODUCERS)
    const parts = [...Array(PRODUCERS).keys()]
    await timed((queue) => Promise.all(parts.map((n) => produce(queue, n * each, (n + 1) * each))))
    break
  }
  case 'bulk': {
    const many = [...Array(jobs).keys()].map((n) => ({ name: NAME, data: crawl(n), opts: OPTIONS }))
    await timed(async (queue) => {
      for (let from = 0; from < jobs; from += 500) await queue.addBulk(many.slice(from, from + 500))
    })
    break
  }
  case 'work':
  case 'latency':
    work(command === 'latency')
    break
  case 'paced':
    await timed(async (queue, first) => {
      for (let number = 0; number < jobs; number++) {
        const due = first.seconds + number / concurrency
        await sleep(Math.max(0, (due - monotonic()) * 1000))
        await queue.add(NAME, crawl(number, String(monotonic())), OPTIONS)
      }
    })
    break
  default:
    console.error(`${command} is no command: see benchmarks/contract.py`)
    process.exit(2)
}
