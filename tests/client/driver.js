// Calls the published client as a shop's own code does, and tells what it gave back.
//
// A line of JSON comes in for each call, {id, options, method, args}, where `method` is a path such
// as "admin.orders.list"; a line goes out for each answer, in whatever order they come.
"use strict"

const readline = require("node:readline")
const Medusa = require("@medusajs/medusa-js").default

const clients = new Map()

function clientOf(options) {
  const name = JSON.stringify(options)
  if (!clients.has(name)) clients.set(name, new Medusa(options))
  return clients.get(name)
}

function asked(config) {
  const url = new URL(config.url, config.baseURL)
  return { verb: config.method.toUpperCase(), path: url.pathname, query: url.search }
}

function methodsOf(resource) {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(resource))
  return names.filter((name) => name !== "constructor" && !name.startsWith("_"))
}

async function call({ options, method, args }) {
  const steps = method.split(".")
  const last = steps.pop()
  const resource = steps.reduce((part, step) => part[step], clientOf(options))
  if (last === "*") return { methods: methodsOf(resource) }
  try {
    const { response, ...data } = await resource[last](...args)
    return { asked: asked(response.config), status: response.status, data, headers: response.headers }
  } catch (error) {
    if (!error.config) throw error
    const { response, config } = error
    const told = response && { status: response.status, data: response.data, headers: response.headers }
    return { asked: asked(config), status: null, data: null, ...told, refused: error.message }
  }
}

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const wanted = JSON.parse(line)
  const outcome = await call(wanted).catch((error) => ({ broken: String(error.stack) }))
  process.stdout.write(JSON.stringify({ id: wanted.id, ...outcome }) + "\n")
})
