import sys,tarfile,io,json,hashlib,os
# usage: mk.py out.tar ref entrypoint src:dst...
out,ref,entry=sys.argv[1:4]
layer=io.BytesIO()
with tarfile.open(fileobj=layer,mode='w') as t:
    for d in ('etc','tmp','usr','usr/local','usr/local/bin','bin','var','var/run','var/lib','proc','sys','dev'):
        ti=tarfile.TarInfo(d); ti.type=tarfile.DIRTYPE; ti.mode=0o1777 if d=='tmp' else 0o755; t.addfile(ti)
    for a in sys.argv[4:]:
        s,d=a.split(':'); ti=t.gettarinfo(os.path.realpath(s),arcname=d); ti.mode=0o755; ti.uid=ti.gid=0
        t.addfile(ti,open(s,'rb'))
L=layer.getvalue(); dl=hashlib.sha256(L).hexdigest()
cfg=json.dumps({"architecture":"amd64","os":"linux","config":{"User":os.environ.get("IMG_USER",""),"Entrypoint":entry.split(),"Env":["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:"+dl]}}).encode()
dc=hashlib.sha256(cfg).hexdigest()
man=json.dumps([{"Config":dc+".json","RepoTags":[ref],"Layers":[dl+"/layer.tar"]}]).encode()
with tarfile.open(out,'w') as t:
    for n,b in ((dc+".json",cfg),(dl+"/layer.tar",L),("manifest.json",man)):
        ti=tarfile.TarInfo(n); ti.size=len(b); t.addfile(ti,io.BytesIO(b))
