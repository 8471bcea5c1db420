// Opens a SMART Health Link of this node. The link stands in the fragment of the address, which is sent nowhere: its key
// is used here, in the browser, and only here. Words stand in the page; this script shows and fills them.
(() => {
  'use strict'

  const root = document.querySelector('[data-health-link]')
  if (!root) return

  const PREFIX = 'shlink:/'
  const NEWEST = 1 // version of the payload that this script knows
  const FHIR = 'application/fhir+json'
  const ACCESS = 'application/smart-api-access'
  const WITHOUT_IMAGES = new Set(['SR', 'DOC', 'KO', 'PR', 'RTPLAN', 'RTSTRUCT', 'RTDOSE', 'RTRECORD', 'SEG', 'REG', 'FID', 'AU'])
  const SHOWN_INLINE = new Set(['application/pdf', 'text/plain'])
  const AT_ONCE = 3 // pictures asked for at a time
  const KEPT = 24 // pictures kept in memory: an old phone has little of it
  const MOST = 1000 // images of a series that one question answers
  const SWIPE = 24 // pixels of a drag for one image

  const words = document.getElementById('hl-words').content
  const language = root.dataset.language

  // --- What the page shows

  const all = (selector, within = root) => [...within.querySelectorAll(selector)]
  const one = (selector, within = root) => within.querySelector(selector)
  const said = (name) => one(`[data-words="${name}"]`, words).textContent
  function fill(name, value, within = root) { // in the place of a {name} in the text that stands there, if there is one
    for (const element of all(`[data-fill="${name}"]`, within)) {
      element.dataset.words ??= element.textContent
      element.textContent = /\{[a-z]+\}/.test(element.dataset.words) ? element.dataset.words.replace(/\{[a-z]+\}/, () => value) : value
    }
  }
  const when = (name, holds, within = root) => all(`[data-if="${name}"]`, within).forEach((e) => { e.hidden = !holds })

  function show(name) {
    for (const section of all('[data-state]')) section.hidden = section.dataset.state !== name
    const heading = one(`[data-state="${name}"] h1`)
    document.title = heading.textContent
    if (name !== 'start' || one('[data-problem]:not([hidden])') === null) heading.focus()
  }

  function problem(name) {
    for (const notice of all('[data-problem]')) notice.hidden = notice.dataset.problem !== name
    show('start')
    const field = { nameless: '#f-recipient', passless: '#f-passcode', wrong: '#f-passcode' }[name]
    if (field) one(field).focus()
  }

  function over(link) {
    const expired = Boolean(link.exp) && link.exp * 1000 <= Date.now()
    when('expired', expired)
    when('ended', !expired)
    show('over')
  }

  function day(date, options = { dateStyle: 'long' }) {
    return new Intl.DateTimeFormat(language, options).format(date)
  }

  function calendarDay(text) { // YYYY-MM-DD: no time zone may turn it into another day
    const [year, month, number] = text.split('-').map(Number)
    return day(new Date(Date.UTC(year, month - 1, number)), { dateStyle: 'long', timeZone: 'UTC' })
  }

  // --- The link

  function bytesOf(text) { // base64url, RFC 4648 section 5
    const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'))
    return Uint8Array.from(plain, (c) => c.charCodeAt(0))
  }

  function readLink() {
    const fragment = location.hash.slice(1)
    const at = fragment.indexOf(PREFIX)
    if (at < 0) return null
    try {
      const link = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytesOf(fragment.slice(at + PREFIX.length))))
      const whole = typeof link.url === 'string' && typeof link.key === 'string' && bytesOf(link.key).length === 32 && Boolean(new URL(link.url))
      return whole ? { ...link, flag: String(link.flag || ''), label: String(link.label || ''), exp: Number(link.exp) || 0 } : null
    } catch {
      return null
    }
  }

  class Over extends Error {}
  class Busy extends Error {}
  class Offline extends Error {}
  class Damaged extends Error {}
  class WrongPasscode extends Error {
    constructor(remaining) {
      super()
      this.remaining = remaining
    }
  }

  async function ask(url, options = {}) {
    let answer
    try {
      answer = await fetch(url, { credentials: 'omit', cache: 'no-store', redirect: 'error', ...options })
    } catch {
      throw new Offline()
    }
    if (answer.ok) return answer
    if (answer.status === 404) throw new Over()
    if (answer.status === 429) throw new Busy()
    if (answer.status === 401 && options.method === 'POST') throw new WrongPasscode((await answer.json()).remainingAttempts)
    if (answer.status === 401) throw new Over()
    throw new Offline()
  }

  async function decrypt(jwe, key) {
    const [header, , nonce, ciphertext, tag] = jwe.split('.')
    try {
      const said = JSON.parse(new TextDecoder().decode(bytesOf(header)))
      if (said.alg !== 'dir' || said.enc !== 'A256GCM' || said.zip) throw new Damaged()
      const parts = [ciphertext, tag].map(bytesOf)
      const sealed = await new Blob(parts).arrayBuffer()
      const how = { name: 'AES-GCM', iv: bytesOf(nonce), additionalData: new TextEncoder().encode(header), tagLength: 128 }
      const plain = await crypto.subtle.decrypt(how, key, sealed)
      return new TextDecoder().decode(plain)
    } catch {
      throw new Damaged()
    }
  }

  async function filesOf(link, recipient, passcode) {
    if (link.flag.includes('U')) {
      const answer = await ask(`${link.url}?${new URLSearchParams({ recipient })}`)
      return [{ contentType: FHIR, embedded: await answer.text() }]
    }
    const body = { recipient, embeddedLengthMax: 4000000 }
    if (link.flag.includes('P')) body.passcode = passcode
    const headers = { 'Content-Type': 'application/json' }
    const answer = await ask(link.url, { method: 'POST', headers, body: JSON.stringify(body) })
    return (await answer.json()).files
  }

  async function open(link, recipient, passcode) {
    const key = await crypto.subtle.importKey('raw', bytesOf(link.key), 'AES-GCM', false, ['decrypt'])
    const found = {}
    for (const file of await filesOf(link, recipient, passcode)) {
      const jwe = file.embedded ?? await (await ask(file.location)).text()
      found[file.contentType] = JSON.parse(await decrypt(jwe, key))
    }
    return found
  }

  // --- What is behind it

  class Images { // by DICOMweb, with the token of the link
    constructor(access) {
      this.base = access.aud
      this.headers = { Authorization: `Bearer ${access.access_token}` }
      this.running = 0
      this.waiting = []
    }

    async json(path) {
      const headers = { ...this.headers, Accept: 'application/dicom+json' }
      const answer = await ask(this.base + path, { headers })
      return answer.status === 204 ? [] : answer.json()
    }

    async picture(path) { // at most AT_ONCE at a time, the last that was wanted first
      if (this.running >= AT_ONCE) await new Promise((go) => this.waiting.push(go))
      this.running += 1
      try {
        const answer = await ask(this.base + path, { headers: { ...this.headers, Accept: 'image/jpeg' } })
        return URL.createObjectURL(await answer.blob())
      } finally {
        this.running -= 1
        const next = this.waiting.pop()
        if (next) next()
      }
    }

    async signIn() { // a cookie, for pages that send no token
      await ask('/links/session', { method: 'POST', headers: this.headers, credentials: 'same-origin' })
    }
  }

  const uidOf = (study) => (study.identifier.find((i) => i.system === 'urn:dicom:uid')?.value || '').replace('urn:oid:', '')

  function nameOf(study) {
    const codes = [...new Set((study.modality || []).map((m) => m.code))]
    const main = codes.filter((code) => !WITHOUT_IMAGES.has(code))
    const known = (main.length ? main : codes).map((code) => {
      const word = all('[data-modality]', words).find((e) => e.dataset.modality === code) || one('[data-modality=""]', words)
      return word.textContent
    })
    const names = [...new Set(known)]
    if (names.length === 0) return one('[data-modality=""]', words).textContent
    return names.length === 1 ? names[0] : said('and').replace('{first}', names[0]).replace('{second}', names[1])
  }

  function personOf(patient) {
    const name = (patient.name || [])[0] || {}
    return [...(name.prefix || []), ...(name.given || []), name.family, ...(name.suffix || [])].filter(Boolean).join(' ')
  }

  function amountOf(number) {
    return said(number === 1 ? 'one' : 'many').replace(/[0-9]+/, new Intl.NumberFormat(language).format(number))
  }

  function documentsOf(bundle) { // reports by the full URL of their study
    const binaries = new Map(bundle.entry.filter((e) => e.resource.resourceType === 'Binary').map((e) => [e.fullUrl, e.resource]))
    const found = new Map()
    for (const { resource } of bundle.entry) {
      if (resource.resourceType !== 'DiagnosticReport') continue
      const form = resource.presentedForm[0]
      const study = resource.imagingStudy[0].reference
      const binary = binaries.get(form.url)
      if (!found.has(study)) found.set(study, [])
      if (binary) found.get(study).push({ title: form.title || '', type: binary.contentType, data: binary.data })
    }
    return found
  }

  function documentLink(template, report, address) {
    const link = document.getElementById(template).content.firstElementChild.cloneNode(true)
    link.href = address
    fill('title', ` ${report.title}`, link)
    return link
  }

  function addReport(card, report) {
    const bytes = Uint8Array.from(atob(report.data), (c) => c.charCodeAt(0))
    if (report.type === 'text/plain') {
      const text = document.createElement('pre')
      text.tabIndex = 0
      text.setAttribute('role', 'region')
      text.setAttribute('aria-label', report.title)
      text.textContent = new TextDecoder().decode(bytes)
      one('[data-texts]', card).append(text)
      return
    }
    // The type is ours to say: whatever the bytes are, they are shown as a document or saved, never run as a page.
    const type = SHOWN_INLINE.has(report.type) ? report.type : 'application/octet-stream'
    const address = URL.createObjectURL(new Blob([bytes], { type }))
    const actions = one('[data-actions]', card)
    if (type === 'application/pdf') actions.append(documentLink('hl-report', report, address))
    const save = documentLink('hl-save', report, address)
    save.download = `report.${{ 'application/pdf': 'pdf', 'text/xml': 'xml' }[report.type] || 'bin'}`
    actions.append(save)
  }

  function addStudy(study, reports, images, viewer) {
    const card = document.getElementById('hl-study').content.firstElementChild.cloneNode(true)
    const name = nameOf(study)
    fill('name', name, card)
    fill('date', study.started ? calendarDay(study.started) : said('undated'), card)
    fill('description', study.description || '', card)
    reports.forEach((report) => addReport(card, report))
    const series = (study.series || []).filter((s) => !WITHOUT_IMAGES.has(s.modality.code))
    const amount = series.reduce((sum, s) => sum + s.numberOfInstances, 0)
    fill('amount', amount ? amountOf(amount) : '', card)
    if (images && series.length) {
      const look = one('[data-do="look"]', card)
      look.hidden = false
      const title = [name, study.started && calendarDay(study.started), study.description].filter(Boolean).join(', ')
      look.setAttribute('aria-description', title)
      look.addEventListener('click', () => viewer.open(uidOf(study), title, series, look))
      thumbnail(card, images, uidOf(study))
    }
    one('[data-studies]').append(card)
  }

  async function thumbnail(card, images, uid) {
    try {
      const picture = one('[data-thumbnail]', card)
      picture.src = await images.picture(`/studies/${uid}/thumbnail?viewport=256,256`)
      picture.hidden = false
      when('bare', false, card)
    } catch { /* the card says what it is without a picture, too */ }
  }

  // --- Looking at images: one after another, by keys, slider, wheel and touch

  class Viewer {
    constructor(images, failed) {
      this.images = images
      this.failed = failed
      this.root = one('[data-light-box]')
      this.stage = one('[data-stage]')
      this.image = one('[data-image]')
      this.slide = one('[data-slide]')
      this.choice = one('[data-series]')
      this.kept = new Map()
      this.frames = []
      this.at = 0
      one('[data-do="before"]').addEventListener('click', () => this.go(this.at - 1))
      one('[data-do="next"]').addEventListener('click', () => this.go(this.at + 1))
      one('[data-do="close"]').addEventListener('click', () => this.close())
      this.slide.addEventListener('input', () => this.go(Number(this.slide.value) - 1))
      this.look = one('[data-look]')
      this.look.addEventListener('change', () => {
        this.drop()
        this.go(this.at)
      })
      this.choice.addEventListener('change', () => this.load(this.choice.value))
      this.stage.addEventListener('keydown', (event) => this.key(event))
      this.stage.addEventListener('wheel', (event) => {
        event.preventDefault()
        this.go(this.at + Math.sign(event.deltaY))
      }, { passive: false })
      this.stage.addEventListener('pointerdown', (event) => {
        this.from = event.clientX
        this.stage.setPointerCapture(event.pointerId)
      })
      this.stage.addEventListener('pointermove', (event) => this.drag(event))
      this.stage.addEventListener('pointerup', () => { this.from = null })
      this.stage.addEventListener('pointercancel', () => { this.from = null })
    }

    key(event) {
      const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -10, PageDown: 10 }
      const to = { Home: 0, End: this.frames.length - 1 }[event.key] ?? (event.key in steps ? this.at + steps[event.key] : null)
      if (to === null) return
      event.preventDefault()
      this.go(to)
    }

    drag(event) {
      if (this.from == null) return
      const images = Math.trunc((event.clientX - this.from) / SWIPE)
      if (images) {
        this.from = event.clientX
        this.go(this.at - images)
      }
    }

    async open(study, name, series, opener) {
      this.study = study
      this.series = series
      this.opener = opener
      fill('viewed', name, this.root)
      this.choice.replaceChildren(...series.map((s, index) => {
        const option = document.createElement('option')
        option.value = s.uid
        option.textContent = `${s.description || `${said('series')} ${s.number ?? index + 1}`} (${amountOf(s.numberOfInstances)})`
        return option
      }))
      one('[data-studies]').hidden = true
      this.root.hidden = false
      one('h2', this.root).focus()
      const most = series.reduce((a, b) => (b.numberOfInstances > a.numberOfInstances ? b : a))
      this.choice.value = most.uid
      await this.load(most.uid)
    }

    async load(series) {
      this.forget()
      when('looks', this.series.find((s) => s.uid === series).modality.code === 'CT')
      this.look.value = ''
      one('[data-wait]').hidden = false
      try {
        const place = `/studies/${this.study}/series/${series}`
        const found = await this.images.json(`${place}/instances?limit=${MOST}`)
        this.frames = found.flatMap((instance) => {
          const frames = Number(instance['00280008']?.Value?.[0] || 1)
          const rows = Number(instance['00280010']?.Value?.[0] || 0)
          const uid = instance['00080018'].Value[0]
          return rows ? Array.from({ length: frames }, (_, n) => `${place}/instances/${uid}/frames/${n + 1}/rendered`) : []
        })
        this.slide.max = Math.max(this.frames.length, 1)
        when('cut', found.length === MOST)
        fill('most', new Intl.NumberFormat(language).format(MOST))
        await this.go(Math.trunc(this.frames.length / 2))
      } catch (error) {
        this.failed(error)
      }
    }

    picture(index) {
      const path = this.frames[index]
      let found = this.kept.get(path)
      if (!found) {
        const side = Math.min(1024, Math.max(256, Math.round(this.stage.clientWidth * Math.min(devicePixelRatio || 1, 2))))
        const window = this.look.value && `&window=${this.look.value}`
        found = this.images.picture(`${path}?viewport=${side},${side}${window}`)
        found.catch(() => this.kept.delete(path))
      }
      this.kept.delete(path)
      this.kept.set(path, found)
      if (this.kept.size > KEPT) {
        const [oldest, address] = this.kept.entries().next().value
        this.kept.delete(oldest)
        address.then(URL.revokeObjectURL, () => {})
      }
      return found
    }

    async go(index) {
      if (!this.frames.length) return
      const wanted = Math.min(Math.max(index, 0), this.frames.length - 1)
      this.at = wanted
      const count = said('image').replace('{number}', wanted + 1).replace('{total}', this.frames.length)
      this.slide.value = wanted + 1
      this.slide.setAttribute('aria-valuetext', count)
      one('[data-count]').textContent = count
      one('[data-wait]').hidden = false
      try {
        const address = await this.picture(wanted)
        if (this.at !== wanted || !this.frames.length) return
        this.image.src = address
        this.image.alt = count
        this.image.hidden = false
        one('[data-wait]').hidden = true
        for (const near of [wanted + 1, wanted + 2, wanted - 1]) if (this.frames[near]) this.picture(near).catch(() => {})
      } catch (error) {
        if (this.at === wanted) this.failed(error)
      }
    }

    drop() {
      for (const address of this.kept.values()) address.then(URL.revokeObjectURL, () => {})
      this.kept.clear()
    }

    forget() {
      this.drop()
      this.frames = []
      this.image.hidden = true
    }

    close() {
      this.forget()
      this.root.hidden = true
      one('[data-studies]').hidden = false
      this.opener?.focus()
    }
  }

  function present(link, found) {
    const bundle = found[FHIR]
    const patient = bundle.entry.find((e) => e.resource.resourceType === 'Patient').resource
    const studies = bundle.entry.filter((e) => e.resource.resourceType === 'ImagingStudy')
    const images = found[ACCESS] ? new Images(found[ACCESS]) : null
    const failed = (error) => refused(link, error)
    const viewer = images ? new Viewer(images, failed) : null
    const reports = documentsOf(bundle)
    fill('patient', personOf(patient))
    when('born', Boolean(patient.birthDate))
    if (patient.birthDate) fill('born', calendarDay(patient.birthDate))
    when('nothing', studies.length === 0)
    when('images', Boolean(images) && studies.length > 0)
    when('signed-in', 'signedIn' in root.dataset)
    for (const { fullUrl, resource } of studies) addStudy(resource, reports.get(fullUrl) || [], images, viewer)
    const uids = studies.map(({ resource }) => uidOf(resource)).join(',')
    const elsewhere = (address) => async () => {
      try {
        await images.signIn()
        location.assign(address)
      } catch (error) {
        failed(error)
      }
    }
    one('[data-do="viewer"]').addEventListener('click', elsewhere(`/viewer/viewer?StudyInstanceUIDs=${uids}`))
    one('[data-do="download"]').addEventListener('click', elsewhere('/links/images.zip'))
    show('shown')
  }

  function refused(link, error) {
    if (error instanceof Over) over(link)
    else if (error instanceof Damaged || error instanceof SyntaxError) show('damaged')
    else if (error instanceof WrongPasscode && error.remaining === 0) show('closed')
    else if (error instanceof WrongPasscode) {
      fill('remaining', error.remaining)
      problem('wrong')
    } else if (error instanceof Busy) problem('busy')
    else if (error instanceof Offline) problem('offline')
    else { // a defect: something has to stand there all the same
      show('damaged')
      throw error
    }
  }

  function start() {
    const link = readLink()
    if (link === null) return show('none')
    if (Number(link.v || 1) > NEWEST) return show('newer')
    if (new URL(link.url).origin !== location.origin) return show('elsewhere')
    if (!globalThis.crypto?.subtle) return show('unable')
    // The choice of a language leads back here: the fragment stays in this browser and goes along.
    for (const form of document.querySelectorAll('form[action="/portal/language"]')) form.action += location.hash
    when('label', Boolean(link.label))
    fill('label', link.label)
    when('expires', Boolean(link.exp))
    if (link.exp) fill('expires', day(new Date(link.exp * 1000), { dateStyle: 'long', timeStyle: 'short' }))
    if (link.exp && link.exp * 1000 <= Date.now()) return over(link)
    when('passcode', link.flag.includes('P'))
    const form = one('[data-open]')
    form.addEventListener('submit', async (event) => {
      event.preventDefault()
      const recipient = one('#f-recipient').value.trim()
      if (!recipient) return problem('nameless')
      const passcode = one('#f-passcode').value
      if (!passcode && link.flag.includes('P')) return problem('passless')
      const button = one('button', form)
      button.disabled = true
      when('busy', true)
      try {
        present(link, await open(link, recipient, passcode))
      } catch (error) {
        refused(link, error)
      } finally {
        button.disabled = false
        when('busy', false)
      }
    })
    show('start')
  }

  addEventListener('hashchange', () => location.reload()) // another link was pasted into the address
  start()
})()
